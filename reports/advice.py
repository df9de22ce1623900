"""Which token counts are worth reaching, in sentences and as values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..sim.advice import Advice, Point, Report
from .gpu import gpu_notes, gpu_values
from .units import ratio

if TYPE_CHECKING:
    from ..workloads import TokenTrace

__all__ = ["advice_lines", "advice_values", "sentence"]


def sentence(advice: Advice, whole: int) -> str:
    """What to do about one count, beside all `whole` tokens of the model before pruning.

    A speed-up and what MACs promise are over a block with all tokens.
    """
    now, place = advice.now, advice.place
    most = advice.free.tokens
    free = f"up to {most} tokens cost at most 1 % more; " if most > now.tokens else ""
    if advice.target is not None:
        target = advice.target
        text = f"{target.tokens} instead of {now.tokens} tokens: {_speed(target, now, whole)}"
        if place.symbol:
            kept = f"{place.symbol}={target.tokens - place.besides}"
            text = f"{kept} instead of {now.tokens - place.besides}, {text}"
        text += f"; {free}".removesuffix("; ")
    else:
        half = advice.half
        held = (
            "time follows the MACs" if advice.verdict == "follows" else "time falls less than MACs"
        )
        label = f"{place.symbol}={now.tokens - place.besides}, " if place.symbol else ""
        text = (
            f"{label}{now.tokens} tokens: {free}no smaller count is worth more than its MACs; "
            f"{held}: half as many ({half.tokens}) give {_speed(half, now, whole)}"
        )
    return text


def advice_lines(report: Report, trace: TokenTrace | None = None) -> list[str]:
    """A heading, a sentence for each count, and one for the whole model.

    `trace` is where the counts come from, if they are means of one.
    """
    images = f", {report.images} images side by side" if report.images > 1 else ""
    whole = report.steps.whole
    lines = [
        f"{report.workload} on {report.machine}, {report.format}{images}",
        *(f"  {line}" for line in gpu_notes(report.steps)),
        *([] if trace is None else [f"  the means of {trace.name}"]),
        *([f"  note: {trace.note}"] if trace and trace.note else []),
        f"one block, compared with all {whole} tokens:",
        *(f"  {sentence(advice, whole)}" for advice in report.advice),
    ]
    if report.whole is not None:
        then = report.whole
        kept = ", ".join(f"{name}={count}" for name, count in then.kept.items())
        lines += [
            "the whole model, compared with no pruning:",
            f"  with {kept}: {ratio(then.then)}, not {ratio(then.now)} "
            f"(MACs promise {ratio(then.promise)}, not {ratio(then.promise_now)})",
        ]
    return lines


def advice_values(report: Report, trace: TokenTrace | None = None) -> dict[str, Any]:
    """Everything as numbers; `trace` as in `advice_lines`."""
    return {
        "workload": report.workload,
        "machine": report.machine,
        "format": report.format,
        **gpu_values(report.steps),
        "images": report.images,
        "tokens": {"name": trace.name, "note": trace.note} if trace else None,
        "tokens_before_pruning": report.steps.whole,
        "advice": [
            {
                "symbol": one.place.symbol or None,
                "tokens_besides_patches": one.place.besides,
                "verdict": one.verdict,
                "now": asdict(one.now),
                "target": asdict(one.target) if one.target else None,
                "costs_the_same": asdict(one.free),
                "half": asdict(one.half),
                "sentence": sentence(one, report.steps.whole),
            }
            for one in report.advice
        ],
        "whole_model": asdict(report.whole) if report.whole else None,
        "block_cycles": report.steps.own.cycles.tolist(),
    }


def _speed(point: Point, now: Point, whole: int) -> str:
    if now.tokens == whole:  # nothing to be compared with yet
        return f"{ratio(point.speed_up)} (MACs promise {ratio(point.promise)})"
    return (
        f"{ratio(point.speed_up)}, not {ratio(now.speed_up)} "
        f"(MACs promise {ratio(point.promise)}, not {ratio(now.promise)})"
    )
