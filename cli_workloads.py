"""Workloads whose tokens vary otherwise than by pruning blocks: merged, or of any size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .cli_inputs import UserError, find_workload, is_path, nearest, pruned_workload

if TYPE_CHECKING:
    from .workloads import TokenTrace, Workload

__all__ = ["merged_workload", "narrowed_workload", "sized_workload", "traced_workload", "with_bits"]


def merged_workload(name: str, modules: str, keep: str | None) -> Workload:
    """A UNet that merges tokens: `--prune tome`, or `tome@self,cross,mlp`.

    Raises:
        UserError: The share is missing or malformed, or there is no such module.
        PruningError: The model is no UNet whose tokens can merge.
    """
    from .workloads.residual_modules import Kind
    from .workloads.unet_merging import KINDS, merged

    if keep is None or not re.fullmatch(r"\d*\.?\d+", keep):
        raise UserError(
            f"--prune tome: say what share of the tokens is left at a UNet's largest resolution, "
            f"as in --keep 0.5{', not ' + keep if keep else ''}; of a ViT say which blocks merge, "
            "as in tome@4,7,10"
        )
    within = modules.split(",") if modules else ["self"]
    for one in within:
        if one not in KINDS:
            raise UserError(
                f"--prune tome@{modules}: no module is called {one}{nearest(one, KINDS)}; "
                f"there are {', '.join(KINDS)}"
            )
    source = Path(name) if is_path(name) else name
    return merged(source, float(keep), cast("list[Kind]", within))


def narrowed_workload(name: str, keep: str | None) -> Workload:
    """A model with a share of its channels: `--prune channels --keep 0.7`.

    Raises:
        UserError: The share is missing or malformed.
        PruningError: The model has no channels that could go.
    """
    from .workloads.channel_pruning import channel_pruned

    if keep is None or not re.fullmatch(r"\d*\.?\d+", keep):
        raise UserError(
            "--prune channels: say what share of every layer's channels is left, as in --keep 0.7"
            f"{', not ' + keep if keep else ''}"
        )
    return channel_pruned(Path(name) if is_path(name) else name, float(keep))


def with_bits(model: Workload, bits: str | None) -> Workload:
    """The model with the bits that rules say, if there are any.

    Raises:
        QuantizationError: The rules are none, or not for this model.
    """
    from .workloads import bit_rules, quantized

    return model if bits is None else quantized(model, bit_rules(bits))


def traced_workload(
    name: str,
    tokens: str,
    given: Mapping[str, int],
    *,
    prune: str | None = None,
    keep: str | None = None,
    bits: str | None = None,
) -> tuple[Workload, TokenTrace, Workload | None]:
    """The model of that name, pruned as `prune` and `keep` say, and a token trace that fits it.

    With a trace of image sizes the model is over the symbols of the trace; if it is pruned, the
    third is the model before that.

    Raises:
        UserError: What the user typed is malformed, or the model lacks a symbol of the trace.
        BindingError: It has no token selector, and the trace is of kept counts.
        TraceError: There is no such trace.
    """
    from .workloads import trace
    from .workloads.unpruned import patches_of

    model = pruned_workload(name, prune, keep)
    found = trace(tokens, patches_of(model, given) if model.dynamic else None)
    if found.over:
        base = with_bits(find_workload(name), bits) if prune else None
        return with_bits(sized_workload(name, model, prune, found.over), bits), found, base
    return with_bits(model, bits), found.fitted(patches_of(model, given)), None


def sized_workload(
    name: str, model: Workload, prune: str | None, symbols: Sequence[str]
) -> Workload:
    """The model over the symbols of a trace of image sizes: a ViT over `patches`, if it must be.

    Raises:
        UserError: It has no such symbol.
        PruningError: It is no ViT that runs over any number of patches.
    """
    from .workloads.any_size import PATCHES, flexible

    own = [symbol.name for symbol in model.symbols]
    missing = [symbol for symbol in symbols if symbol not in own]
    if missing == [PATCHES] and prune is not None:
        raise UserError(
            f"--prune {prune}: a ViT whose images differ in size is not pruned too; leave one out"
        )
    if missing == [PATCHES]:
        return flexible(Path(name) if is_path(name) else name)
    if missing:
        raise UserError(
            f"{model.name} has no symbol {missing[0]}, over which the trace is"
            + (nearest(missing[0], own) or f"; it has {', '.join(own) or 'none'}")
        )
    return model
