"""Trains `heatvit-digits16` on scikit-learn's digits and records its trace, `digits16`.

    python -m tilewise.workloads.zoo.digits16_trace

takes some eight minutes of one core. What is trained: a ViT of 4 blocks with HeatViT's selectors
before blocks 2, 3 and 4, after each quarter of the depth as in DeiT-S. What it sees: the 8 x 8
digits of scikit-learn (a copy of the test set of UCI's "Optical Recognition of Handwritten Digits",
1,797 images), each at a random place of a black 16 x 16 canvas, which is 64 patches of 2 x 2. A
fifth of the digits is held out and serves for nothing but the figures and the trace.

How, since keep-ratio training with Gumbel-Softmax from the start collapses on so small a model:

1. The plain ViT learns to classify.
2. It is frozen as the teacher. A patch is worth keeping at selector k if it is one of the fewest
   that hold `MASSES[k]` of the attention that the teacher's CLS token pays in the blocks after
   that selector, mean over blocks and heads. The selectors learn that by cross-entropy.
3. All is fine-tuned together, pruned by the selectors' own decisions, on the labels and on 2.

Pruned tokens are masked while training, so that a batch can be computed; for the trace the trained
model's export, in which they are gone, runs in onnxruntime. The program says how many counts and
classes differ between the two.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..extras import require
from ..recording import record
from ..tokens import write_trace
from . import torch_vit, vits
from .torch_selector import KEEP_THRESHOLD

TRACES = Path(__file__).parents[1] / "traces"
CONFIG = vits.HEATVIT_DIGITS16
MASSES = (0.95, 0.9, 0.8)
PLACES = 2
"""Places on the canvas of each held-out digit."""
BRIGHTNESS = 4.0
"""What a white pixel is: with 1, positions outweigh what the patches hold, and learning is slow."""
BATCH = 32

Image = NDArray[np.float32]


def canvases(digits: NDArray[Any], generator: np.random.Generator) -> Image:
    """Digits `(n, 8, 8)` of 0 to 16, each at a random place: `(n, 3, 16, 16)`."""
    out = np.zeros((len(digits), 3, CONFIG.image, CONFIG.image), np.float32)
    places = generator.integers(0, CONFIG.image - 8 + 1, (len(digits), 2))
    for canvas, digit, (top, left) in zip(out, digits, places, strict=True):
        canvas[:, top : top + 8, left : left + 8] = digit * (BRIGHTNESS / 16)
    return out


def run(module: Any, image: Any, *, prune: bool) -> tuple[Any, list[Any], list[Any], list[Any]]:
    """The forward of a batch with pruned tokens masked: what training needs.

    Returns:
        Logits `(batch, classes)`; for each selector its scores `(batch, patches)`; after it the
        patches that are left, boolean, of that shape; for each block the attention that CLS pays
        to the patches, mean over heads, of that shape.
    """
    torch = require("torch", "export")
    patches = module.patch_embed(image).flatten(2).transpose(1, 2)
    cls = module.cls_token.expand(len(image), -1, -1)
    x = torch.cat([cls, patches], dim=1) + module.pos_embed
    # The package token has the last place, and takes part once something may have been packed.
    x = torch.cat([x, torch.zeros_like(cls)], dim=1)
    left = torch.ones(patches.shape[:2], dtype=torch.bool)
    packed = torch.zeros_like(left[:, :1])
    scores: list[Any] = []
    masks: list[Any] = []
    looks: list[Any] = []
    for number, block in enumerate(module.blocks, start=1):
        if prune and number in module.selected:
            present = torch.cat([left, packed], dim=1)
            score = _scores(module.selectors[len(scores)], x[:, 1:], present)
            scores.append(score[:, :-1])
            stay = left & (score[:, :-1] > KEEP_THRESHOLD)
            weights = (score * torch.cat([left & ~stay, packed], dim=1)).unsqueeze(-1)
            total = weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
            package = (weights * x[:, 1:]).sum(dim=1, keepdim=True) / total
            x = torch.cat([x[:, :-1], package], dim=1)
            left, packed = stay, torch.ones_like(packed)
            masks.append(left)
        seen = torch.cat([torch.ones_like(packed), left, packed], dim=1)
        x, look = _block(block, x, seen)
        looks.append(look[:, 1:-1])
    return module.head(module.norm(x)[:, 0]), scores, masks, looks


def _block(block: Any, x: Any, seen: Any) -> tuple[Any, Any]:
    """One block over the tokens that are `seen`, and where its CLS token looks."""
    attention = block.attn
    y = attention.qkv(block.norm1(x)).unflatten(-1, (3, attention.heads, -1))
    q, k, v = y.permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(-1, -2) * k.shape[-1] ** -0.5
    shares = logits.masked_fill(~seen[:, None, None], float("-inf")).softmax(dim=-1)
    x = x + attention.proj((shares @ v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x)), shares[:, :, 0].mean(dim=1)


def _scores(selector: Any, tokens: Any, present: Any) -> Any:
    """The selector's scores of a batch, its global feature the mean over what is present."""
    torch = require("torch", "export")
    split = tokens.unflatten(-1, (selector.heads, -1))
    local = selector.features(split)
    weight = present[..., None, None].float()
    mean = (local * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)
    logits = selector.classifier(torch.cat([local, mean.expand_as(local)], dim=-1))
    keep = logits.softmax(dim=-1)[..., 0]
    weights = selector.head_weights(split.mean(dim=-1))
    return (weights * keep).sum(dim=-1) / weights.sum(dim=-1)


def worth(looks: Sequence[Any]) -> list[Any]:
    """For each selector the patches worth keeping, boolean `(batch, patches)`: see 2 above."""
    torch = require("torch", "export")
    chosen: list[Any] = []
    for number, mass in zip(CONFIG.selectors, MASSES, strict=True):
        look = torch.stack(list(looks[number - 1 :])).mean(dim=0)
        share, order = (look / look.sum(dim=1, keepdim=True)).sort(dim=1, descending=True)
        fewest = share.cumsum(dim=1) - share < mass
        chosen.append(torch.zeros_like(fewest).scatter(1, order, fewest))
    return chosen


def train(digits: Any, labels: Any, epochs: tuple[int, int, int], seed: int) -> tuple[Any, Any]:
    """The plain ViT and the pruned one, trained in three stages on `digits` `(n, 8, 8)`."""
    torch = require("torch", "export")
    nn = torch.nn
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = torch_vit.build(CONFIG).train()
    with torch.no_grad():
        module.pos_embed.copy_(_positions())
    selectors = list(module.selectors.parameters())
    backbone = [p for name, p in module.named_parameters() if not name.startswith("selectors.")]
    teacher: Any = None
    for stage, (parameters, rate) in enumerate(
        ((backbone, 2e-3), (selectors, 3e-3), (backbone + selectors, 5e-4))
    ):
        if stage == 1:
            teacher = torch_vit.build(CONFIG)
            teacher.load_state_dict(module.state_dict())
        steps = epochs[stage] * (len(digits) // BATCH)
        optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps, pct_start=0.15
        )
        for step in range(steps):
            if step % (len(digits) // BATCH) == 0:
                order = generator.permutation(len(digits))
            start = step % (len(digits) // BATCH) * BATCH
            drawn = order[start : start + BATCH]
            image = torch.from_numpy(canvases(digits[drawn], generator))
            logits, scores, masks, _ = run(module, image, prune=stage > 0)
            loss: Any = 0.0
            if stage != 1:
                target = torch.from_numpy(labels[drawn])
                loss = loss + nn.functional.cross_entropy(logits, target, label_smoothing=0.05)
            if stage:
                with torch.no_grad():
                    wanted = worth(run(teacher, image, prune=False)[3])
                before = [torch.ones_like(masks[0]), *masks[:-1]]
                for score, keep, given in zip(scores, wanted, before, strict=True):
                    loss = loss + nn.functional.binary_cross_entropy(
                        score[given].clamp(1e-6, 1 - 1e-6), keep[given].float()
                    )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
    return teacher, module.eval()


def _positions() -> Any:
    """Half of the sines and cosines of row and column, `(1, 1 + patches, embed)`; CLS is 0."""
    torch = require("torch", "export")
    quarter = CONFIG.embed // 4
    rates = 100.0 ** -(torch.arange(quarter) / quarter)
    along = torch.arange(CONFIG.image // CONFIG.patch).float()
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (rows, columns)]
    embedding = torch.cat([wave(a) for a in angles for wave in (torch.sin, torch.cos)], dim=1)
    return 0.5 * torch.cat([torch.zeros(1, CONFIG.embed), embedding])[None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the model, says how well it does, and writes the trace."""
    parser = argparse.ArgumentParser(prog="digits16_trace")
    parser.add_argument("--out", type=Path, default=TRACES, help="the folder to write into")
    parser.add_argument("--epochs", type=int, nargs=3, default=(80, 8, 20), help="of each stage")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    options = parser.parse_args(arguments)
    torch = require("torch", "export")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses packages nobody needs
    torch.set_num_threads(1)  # so that sums are always added in the same order
    began = time.perf_counter()
    data = require("sklearn.datasets", "traces").load_digits()
    generator = np.random.default_rng(options.seed)
    order = generator.permutation(len(data.images))
    held_out, rest = np.split(order, [len(order) // 5])
    labels = data.target.astype(np.int64)
    plain, pruned = train(data.images[rest], labels[rest], tuple(options.epochs), options.seed)
    chosen = np.tile(held_out, PLACES)
    images, truth = canvases(data.images[chosen], generator), labels[chosen]
    with torch.no_grad():
        batch = torch.from_numpy(images)
        guess_plain = run(plain, batch, prune=False)[0].argmax(1).numpy()
        logits, _, masks, _ = run(pruned, batch, prune=True)
        guess_pruned = logits.argmax(1).numpy()
        wanted = worth(run(plain, batch, prune=False)[3])
        single = [pruned(image[None]) for image in batch]
    accuracy_plain, accuracy = (float(np.mean(g == truth)) for g in (guess_plain, guess_pruned))
    kept = np.array([[int(count) for count in counts] for _, *counts in single])
    masked = np.stack([mask.sum(dim=1).numpy() for mask in masks], axis=1)
    alone = np.array([int(logits.argmax()) for logits, *_ in single])
    model = torch_vit.export_vit(CONFIG, weights=True, module_factory=lambda: pruned)
    versions = f"torch {torch.__version__}, NumPy {np.__version__}"
    sklearn = require("sklearn", "traces").__version__
    runtime = require("onnxruntime", "traces").__version__
    trace = record(
        model.SerializeToString(),
        images,
        patches=CONFIG.patches,
        name="digits16",
        source=(
            f"recorded: heatvit-digits16 on {len(held_out)} held-out digits of scikit-learn at "
            f"{PLACES} random places each; top-1 {accuracy:.1%}, plain ViT {accuracy_plain:.1%}; "
            f"seed {options.seed}; {versions}, scikit-learn {sklearn}, onnxruntime {runtime}"
        ),
        labels=[f"digit{truth[i]}-{digit}-{i // len(held_out)}" for i, digit in enumerate(chosen)],
    )
    options.out.mkdir(parents=True, exist_ok=True)
    write_trace(trace, options.out / f"{trace.name}.csv")
    goals = ", ".join(f"{keep.sum(dim=1).float().mean():.1f}" for keep in wanted)
    sys.stdout.write(
        f"{trace.name}: {trace.describe()}\n"
        f"top-1: plain {accuracy_plain:.4f}, pruned {accuracy:.4f} of {len(truth)}\n"
        f"worth keeping, by the teacher: {goals}\n"
        f"onnxruntime differs from torch in {int(np.sum(trace.array() != kept))} counts, it from "
        f"its masked batch in {int(np.sum(kept != masked))} counts and "
        f"{int(np.sum(alone != guess_pruned))} classes\n"
        f"{time.perf_counter() - began:.0f} s\n"
    )


if __name__ == "__main__":
    main()
