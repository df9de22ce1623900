"""Regenerates the shipped graphs: `python -m tilewise.workloads.zoo.generate [NAME...]`.

The same versions of torch and onnxscript write the same bytes.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from ..extras import require
from ..onnx_export import save
from ..onnx_file import load
from . import torch_unet, torch_vit
from .quasar import QUASAR_LARGE, QUASAR_MEDIUM, QUASAR_SMALL

GRAPHS = Path(__file__).parent / "graphs"
"""Where the shipped graphs are."""

EXPORTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "deit-small": lambda: torch_vit.export_vit(torch_vit.DEIT_SMALL),
    "heatvit-deit-small": lambda: torch_vit.export_vit(torch_vit.HEATVIT_DEIT_SMALL),
    "heatvit-digits16": lambda: torch_vit.export_vit(torch_vit.HEATVIT_DIGITS16),
    "quasar-vit-small": lambda: torch_vit.export_quasar(QUASAR_SMALL),
    "quasar-vit-medium": lambda: torch_vit.export_quasar(QUASAR_MEDIUM),
    "quasar-vit-large": lambda: torch_vit.export_quasar(QUASAR_LARGE),
    "sd15-unet": torch_unet.export_unet,
    "sdxl-unet": lambda: torch_unet.export_unet(torch_unet.SDXL_UNET),
}
"""Each shipped graph and what makes it."""


def generate(name: str, folder: Path = GRAPHS) -> str:
    """Writes one graph into a folder and says what it is and whether it is a new one."""
    path = folder / f"{name}.onnx.gz"
    before = load(path)[0] if path.exists() else None
    model = EXPORTS[name]()
    save(model, path)
    change = "new" if before is None else "unchanged" if model == before else "CHANGED"
    symbols = {
        size.dim_param
        for value in [*model.graph.input, *model.graph.value_info]
        for size in value.type.tensor_type.shape.dim
        if size.dim_param.isidentifier()
    }
    content = path.read_bytes()
    return (
        f"{name}: {change}, {len(content)} bytes, opset {model.opset_import[0].version}, "
        f"{len(model.graph.node)} nodes, symbols {', '.join(sorted(symbols))}, "
        f"sha256 {hashlib.sha256(content).hexdigest()}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Regenerates the graphs named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPORTS)}")
    parser.add_argument("--out", type=Path, default=GRAPHS, help="the folder to write into")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - EXPORTS.keys())
    if unknown:
        parser.error(f"no graph is called {', '.join(unknown)}; there are {', '.join(EXPORTS)}")
    require("torch", "export")  # which sets the levels of its loggers
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses packages nobody needs
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or EXPORTS:
        sys.stdout.write(f"{generate(name, options.out)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
