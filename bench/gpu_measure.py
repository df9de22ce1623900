"""Times of kernels and of whole models on a GPU, as CSV: `python bench/gpu_measure.py --out times`.

It was not run on a GPU by us: only `--dry-run`, tiny sizes on a CPU, is tested.  Each kind has a
file of its own.  `tilewise calibrate` reads four of them: gemm, attention, streams (fp32, more than
an L2 holds) and convolution (fp32, 3 x 3).  The others are convolutions in half precision and both
layouts, group norms and gathered tokens, a block of a ViT padded and packed with the token counts
of a shipped trace, and whole models, eager and compiled.  Most shapes are the zoo's models'.

Times are medians between CUDA events.  Kernels are recorded in a CUDA graph, several calls behind
each other, so that the host does not count and operands may stay in L2; products take up to five
sets of weights in turn, as a model's layers do.  Whole models are called as they are.  The SM clock
is what nvidia-smi says behind each row.
"""

# torch and diffusers are optional and have no types here.
# pyright: basic

import argparse
import csv
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import tilewise as tw
from tilewise.workloads import trace
from tilewise.workloads.extent import known
from tilewise.workloads.operator import Convolution, MatMul, Normalization
from tilewise.workloads.zoo import torch_unet, torch_vit
from tilewise.workloads.zoo.configs import arguments as config_of
from tilewise.workloads.zoo.vits import DEIT_BASE, DEIT_SMALL, VitConfig

KINDS = (
    "gemm", "attention", "streams", "convolution", "half_convolution", "moves", "tokens", "model",
)  # fmt: skip
UNETS = ("sd15-unet", "sdxl-unet")
CONVOLUTION = (
    "batch", "in_channels", "out_channels", "kernel", "input_size", "stride", "padding",
)  # fmt: skip
CALLS_IN_A_GRAPH = 10  # or the next multiple of the kernels that take turns
WARM_UP = 3
WEIGHT_SETS = 5  # at most: what `sim/gpu/gemm.py` assumes between two uses of the same weights
ROWS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
ANY_L2_BYTES = 4096  # of a dry run: its product takes turns too

Row = dict[str, object]
Action = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """Where and how often something is timed; `tiny` is the dry run."""

    torch: Any
    device: str
    tiny: bool
    times: int

    @property
    def gpu(self) -> str:
        """The name of what runs it."""
        if self.device == "cpu":
            return "cpu (dry run)"
        return str(self.torch.cuda.get_device_name())

    def tensor(self, *shape: int, dtype: str = "float16") -> Any:
        """Random numbers; a CPU computes in fp32, as not all of its kernels know fp16."""
        own = self.torch.float32 if self.device == "cpu" else getattr(self.torch, dtype)
        return self.torch.randn(*shape, dtype=own, device=self.device)

    def module(self, module: Any) -> Any:
        """A module where it is timed, in half precision on a GPU."""
        moved = module.to(self.device)
        return moved if self.device == "cpu" else moved.half()

    @property
    def half_formats(self) -> tuple[str, ...]:
        """Of 16 bits, those that the tensor cores compute in: bf16 since Ampere."""
        has_bf16 = self.device == "cpu" or self.torch.cuda.get_device_capability() >= (8, 0)
        return ("float16", "bfloat16") if has_bf16 else ("float16",)

    @property
    def l2_bytes(self) -> int:
        """Of what runs it; a CPU's does not matter."""
        if self.device == "cpu":
            return ANY_L2_BYTES
        return int(self.torch.cuda.get_device_properties(self.device).L2_cache_size)

    def kernel(self, *actions: Action) -> Row:
        """The time of one kernel, without the host's; of several, which take turns, the mean."""
        with self.torch.no_grad():
            for action in actions * (0 if self.tiny else WARM_UP):
                action()
            if self.device == "cpu":
                turns = islice(cycle(actions), max(self.times, len(actions)))
                return self._row([self._wall_ms(action) for action in turns])
            # Whole rounds: from one replay to the next, too, each waits for all the others.
            rounds = -(-CALLS_IN_A_GRAPH // len(actions))
            graph = self.torch.cuda.CUDAGraph()
            self.torch.cuda.synchronize()
            with self.torch.cuda.graph(graph):
                for action in actions * rounds:
                    action()
            calls = rounds * len(actions)
            taken = [self._event_ms(graph.replay) / calls for _ in range(self.times)]
        return self._row(taken)

    def model(self, action: Action) -> Row:
        """The time of a call, the host's included if it is what takes longest."""
        measure = self._wall_ms if self.device == "cpu" else self._event_ms
        with self.torch.no_grad():
            for _ in range(0 if self.tiny else WARM_UP):
                action()
            return self._row([measure(action) for _ in range(self.times)])

    def _event_ms(self, action: Action) -> float:
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        self.torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    @staticmethod
    def _wall_ms(action: Action) -> float:
        start = time.perf_counter()
        action()
        return 1e3 * (time.perf_counter() - start)

    def _row(self, taken: Sequence[float]) -> Row:
        return {
            "latency_ms": median(taken),
            "latency_ms_median": median(taken),
            "latency_ms_min": min(taken),
            "observations": len(taken),
            "sm_clock_mhz": self._clock_mhz(),
        }

    def _clock_mhz(self) -> str:
        if self.device == "cpu":
            return ""
        asked = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits", "--id=0"]
        try:
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""


def gemm_sizes() -> list[tuple[int, int, int]]:
    """m, n and k from 32 rows on: what the zoo multiplies, and its weights by powers of two.

    The zoo's are the products with trained weights of DeiT-S and DeiT-B, and of the UNets.
    """
    shapes = {
        (known(o.m), known(o.n), known(o.k))
        for model in ("deit-small", "deit-base", *UNETS)
        for batch in (1, 2, 4, 8, 16, 32)
        for o in tw.workload(model).bind({"batch": batch}).operators
        if isinstance(o, MatMul) and o.weights == 1 and o.copies == 1
    }
    shapes |= {(m, n, k) for _, n, k in shapes for m in ROWS}
    return sorted(shape for shape in shapes if shape[0] >= ROWS[0])


def weight_sets(l2_bytes: int, n: int, k: int, element_bytes: int = 2) -> int:
    """How many sets of `[n, k]` weights take turns: as many as fill L2, up to five."""
    return min(max(-(-l2_bytes // (n * k * element_bytes)), 1), WEIGHT_SETS)


def gemms(bench: Bench) -> Iterator[Row]:
    """Products in half precision: the same activations, and weights in turn as layers hold them."""
    multiply = bench.torch.nn.functional.linear
    for m, n, k in [(8, 16, 8)] if bench.tiny else gemm_sizes():
        for dtype in bench.half_formats:
            x = bench.tensor(m, k, dtype=dtype)
            sets = weight_sets(bench.l2_bytes, n, k)
            weights = [bench.tensor(n, k, dtype=dtype) for _ in range(sets)]
            said = {"dtype": dtype, "m": m, "n": n, "k": k, "weight_sets": sets}
            yield said | bench.kernel(*(partial(multiply, x, one) for one in weights))


def convolution_sizes() -> list[tuple[int, ...]]:
    """Those of the UNets, in the order of `CONVOLUTION`."""
    shapes = {
        (known(o.batch), o.in_channels, o.out_channels, o.kernel[0], known(o.in_size[0]),
         o.stride[0], o.padding[0] // 2)
        for model in UNETS
        for batch in (1, 2, 8)
        for o in tw.workload(model).bind({"batch": batch}).operators
        if isinstance(o, Convolution)
    }  # fmt: skip
    return sorted(shapes)


def convolutions(bench: Bench) -> Iterator[Row]:
    """Those of 3 x 3 at stride 1, in fp32 on the general cores."""
    bench.torch.backends.cudnn.allow_tf32 = False
    same = [shape for shape in ([] if bench.tiny else convolution_sizes()) if is_plain(shape)]
    for shape in same or [(1, 4, 8, 3, 8, 1, 1)]:
        yield _convolution(bench, shape, "contiguous_format", "float32")


def is_plain(shape: tuple[int, ...]) -> bool:
    """Whether it is one that `tilewise calibrate convolution` reads."""
    return (shape[3], *shape[5:]) == (3, 1, 1)


def half_convolutions(bench: Bench) -> Iterator[Row]:
    """All, on tensor cores, in both layouts."""
    for shape in [(1, 4, 8, 3, 8, 1, 1)] if bench.tiny else convolution_sizes():
        for layout in ("contiguous_format", "channels_last"):
            yield _convolution(bench, shape, layout, "float16")


def _convolution(bench: Bench, shape: tuple[int, ...], layout: str, dtype: str) -> Row:
    batch, wide, out, kernel, size, stride, padding = shape
    place = {"memory_format": getattr(bench.torch, layout)}
    image = bench.tensor(batch, wide, size, size, dtype=dtype).to(**place)
    weights = bench.tensor(out, wide, kernel, kernel, dtype=dtype).to(**place)
    action = partial(
        bench.torch.nn.functional.conv2d, image, weights, stride=stride, padding=padding
    )
    said = {"dtype": dtype, "layout": layout}
    return dict(zip(CONVOLUTION, shape, strict=True)) | said | bench.kernel(action)


def stream_sizes() -> list[tuple[int, int]]:
    """Rows and columns: 128 MB to 1 GB in fp32, as calls in turn find what is smaller in L2."""
    widths = (128, 192, 384, 768, 1024, 1280, 1536, 2048, 3072, 4096, 8192, 16384)
    return [(2**power // width, width) for width in widths for power in (25, 26, 27, 28)]


def streams(bench: Bench) -> Iterator[Row]:
    """Kernels that only move bytes, in fp32."""
    functional = bench.torch.nn.functional
    for rows, columns in [(4, 16)] if bench.tiny else stream_sizes():
        x, y = (bench.tensor(rows, columns, dtype="float32") for _ in range(2))
        actions = {
            "add": partial(bench.torch.add, x, y),
            "mul": partial(bench.torch.mul, x, y),
            "relu": partial(functional.relu, x),
            "gelu": partial(functional.gelu, x),
            "ln": partial(functional.layer_norm, x, (columns,)),
            "softmax": partial(functional.softmax, x, dim=-1),
        }
        for op, action in actions.items():
            said = {"op": op, "dtype": "float32", "rows": rows, "columns": columns}
            yield said | bench.kernel(action)


def moves(bench: Bench) -> Iterator[Row]:
    """Group norms of the UNets, and gathered tokens, in half precision."""
    functional = bench.torch.nn.functional
    norms = set() if bench.tiny else {
        (known(o.rows), known(o.row_length))
        for model in UNETS
        for batch in (1, 2, 8)
        for o in tw.workload(model).bind({"batch": batch}).operators
        if isinstance(o, Normalization) and o.form == "group"
    }  # fmt: skip
    for rows, columns in sorted(norms) or [(4, 16)]:
        x = bench.tensor(1, rows, columns)
        action = partial(functional.group_norm, x, rows)
        yield {"op": "group_norm", "rows": rows, "columns": columns} | bench.kernel(action)
    tokens = [(rows, width) for rows in (197, 1576, 12608) for width in (192, 384, 768)]
    for rows, columns in [(8, 16)] if bench.tiny else tokens:
        x, kept = bench.tensor(rows, columns), bench.torch.randperm(rows)[: -(-rows // 2)]
        action = partial(bench.torch.index_select, x, 0, kept.to(bench.device))
        yield {"op": "gather", "rows": len(kept), "columns": columns} | bench.kernel(action)


def attention_sizes() -> list[tuple[int, int, int, int]]:
    """Batch, length, heads and columns of a head."""
    return [
        (batch, length, heads, width)
        for batch in (1, 2, 8, 32)
        for length in (77, 197, 256, 577, 1024, 4096)
        for heads in (6, 12)
        for width in (64, 80, 128)
    ]


def attentions(bench: Bench) -> Iterator[Row]:
    """Scaled dot-product attention of equal lengths."""
    attend = bench.torch.nn.functional.scaled_dot_product_attention
    for batch, length, heads, width in [(2, 8, 2, 16)] if bench.tiny else attention_sizes():
        qkv = [bench.tensor(batch, heads, length, width) for _ in range(3)]
        said = {"kernel": "sdpa", "dtype": "float16", "batch": batch, "sequence": length}
        yield said | {"heads": heads, "head_dim": width} | bench.kernel(partial(attend, *qkv))


def tokens(bench: Bench) -> Iterator[Row]:
    """A block of a ViT over the token counts of real images, padded to the most and packed."""
    counts = trace("dinov2-crops").array()[:, 0]
    for batch in (2,) if bench.tiny else (8, 32, 128):
        lengths = [int(count) + 1 for count in counts[:batch]]
        for embed, heads in ((32, 2),) if bench.tiny else ((384, 6), (768, 12)):
            said = {
                "batch": batch, "most_tokens": max(lengths), "total_tokens": sum(lengths),
                "heads": heads, "head_dim": embed // heads,
            }  # fmt: skip
            block = _block(bench, embed, heads)
            padded = bench.tensor(batch, max(lengths), embed)
            yield said | {"policy": "padded"} | bench.model(partial(block, padded, None))
            packed = bench.tensor(sum(lengths), embed)
            yield said | {"policy": "packed"} | bench.model(partial(block, packed, lengths))


def _block(bench: Bench, embed: int, heads: int) -> Callable[[Any, list[int] | None], Any]:
    """Norm, attention, norm and MLP; packed tokens attend as a nested tensor of jagged layout."""
    torch = bench.torch
    norms = [bench.module(torch.nn.LayerNorm(embed)) for _ in range(2)]
    shapes = ((embed, 3 * embed), (embed, embed), (embed, 4 * embed), (4 * embed, embed))
    qkv, proj, up, down = (bench.module(torch.nn.Linear(*shape)) for shape in shapes)

    attend = torch.nn.functional.scaled_dot_product_attention

    def mixed(parts: Sequence[Any], lengths: list[int] | None) -> Any:
        if lengths is None:
            return attend(*(part.transpose(1, 2) for part in parts)).transpose(1, 2)
        if bench.device == "cpu":  # has no kernel for jagged layouts
            each = zip(*(part.split(lengths) for part in parts), strict=True)
            return torch.cat([mixed([p[None] for p in one], None)[0] for one in each])
        ends = torch.tensor([0, *lengths], device=bench.device).cumsum(0)
        jagged = [torch.nested.nested_tensor_from_jagged(part, ends) for part in parts]
        return mixed(jagged, None).values()

    def run(x: Any, lengths: list[int] | None) -> Any:
        parts = qkv(norms[0](x)).unflatten(-1, (3, heads, -1)).unbind(-3)
        x = x + proj(mixed(parts, lengths).flatten(-2))
        return x + down(torch.nn.functional.gelu(up(norms[1](x))))

    return run


def models(bench: Bench) -> Iterator[Row]:
    """Whole ViTs and UNets, eager and compiled, at several batch sizes."""
    for name, module, inputs in _models(bench):
        engines = {"eager": module, "compiled": _compiled(bench, module)}
        for engine, run in engines.items():
            for batch in (1,) if bench.tiny else (1, 2, 8, 32):
                said = {"model": name, "engine": engine, "dtype": "float16", "batch": batch}
                yield said | bench.model(partial(run, *inputs(batch)))


def _compiled(bench: Bench, module: Any) -> Any:
    if bench.tiny:  # the real backend wants a compiler, which a CPU's may lack
        return bench.torch.compile(module, backend="eager")
    return bench.torch.compile(module, mode="max-autotune")


def _models(bench: Bench) -> Iterator[tuple[str, Any, Callable[[int], tuple[Any, ...]]]]:
    vits = {"deit-small": DEIT_SMALL, "deit-base": DEIT_BASE}
    if bench.tiny:
        vits = {"tiny": VitConfig(depth=1, embed=32, heads=2, image=32)}
    for name, config in vits.items():
        module = bench.module(torch_vit.build(config))
        yield name, module, partial(_image, bench, config.image)
    for name in UNETS[: 1 if bench.tiny else 2]:
        arguments = dict(config_of(name))
        latents = int(arguments["sample_size"])
        if bench.tiny:
            arguments |= {"block_out_channels": [32, 32, 32, 32], "cross_attention_dim": 16}
            latents = 16
        module = bench.module(torch_unet.build(arguments))
        yield name, module, partial(_latents, bench, arguments, latents)


def _image(bench: Bench, side: int, batch: int) -> tuple[Any, ...]:
    return (bench.tensor(batch, 3, side, side),)


def _latents(bench: Bench, arguments: dict[str, Any], side: int, batch: int) -> tuple[Any, ...]:
    """What a UNet reads: latents, the step, the text, and for SDXL the pooled text and sizes."""
    found = (
        bench.tensor(batch, int(arguments["in_channels"]), side, side),
        bench.tensor(batch),
        bench.tensor(batch, 77, int(arguments["cross_attention_dim"])),
    )
    if arguments.get("addition_embed_type") == "text_time":
        return *found, bench.tensor(batch, 1280), bench.tensor(batch, 6)
    return found


OF = dict(
    zip(
        KINDS,
        (gemms, attentions, streams, convolutions, half_convolutions, moves, tokens, models),
        strict=True,
    )
)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and write a CSV for each kind."""
    parser = argparse.ArgumentParser(
        description="Times of kernels and models on a GPU, as CSV. Not run on a GPU by us: only "
        "--dry-run is tested."
    )
    parser.add_argument("--out", type=Path, default=Path("times"), help="folder for the CSVs")
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of " + ", ".join(KINDS))
    parser.add_argument("--times", type=int, default=20, help="measurements of each")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, once, on the CPU")
    asked = parser.parse_args(given)
    kinds = asked.kinds.split(",")
    for kind in kinds:
        if kind not in OF:
            parser.error(f"--kinds: wanted some of {', '.join(KINDS)}, got {kind}")
    torch: Any = import_module("torch")  # the tests' environment has none for pyright to know
    if not asked.dry_run and not torch.cuda.is_available():
        parser.error("there is no GPU that torch knows; --dry-run needs none")
    times = 1 if asked.dry_run else asked.times
    bench = Bench(torch, "cpu" if asked.dry_run else "cuda", asked.dry_run, times)
    asked.out.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        rows = [{"gpu": bench.gpu, **row} for row in OF[kind](bench)]
        path = asked.out / f"{kind}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
