"""Readings of results say what the results say, and files appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import RenderableType

from tilewise.arch import load_machine, machine_names, sources
from tilewise.reports.compare import compare
from tilewise.reports.files import OutputError, check_writable, json_text, write_text
from tilewise.reports.groups import by_kernel, by_module, slowest
from tilewise.reports.html import html_text
from tilewise.reports.show import machine_view, workload_view
from tilewise.reports.style import CAUSE_COLORS, ENERGY_COLORS, UNIT_COLORS
from tilewise.reports.table import as_text, comparison_view, result_view
from tilewise.reports.trace import microseconds, trace, trace_text
from tilewise.reports.units import quantity
from tilewise.sim.gpu.parts import Confidence
from tilewise.sim.losses import CAUSES
from tilewise.sim.result import CONFIDENCES, Result, by_confidence
from tilewise.sim.simulate import simulate
from tilewise.sim.spans import UNITS, Spans
from tilewise.workloads import vit

MACHINES = ("edge-32x32", "a100-80gb")


@cache
def small(machine: str = "edge-32x32", selectors: tuple[int, ...] = (), batch: int = 1) -> Result:
    """A ViT of two blocks and 50 tokens, dense or with half its tokens dropped after the first."""
    workload = vit(depth=2, embed=64, heads=2, image=112, selectors=selectors)
    bind = {"kept_1": 25} if selectors else {}
    return simulate(workload, load_machine(machine), bind=bind, batch=batch)


def slices(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (event for event in document["traceEvents"] if event["ph"] == "X")


def nanoseconds(microseconds: float) -> int:
    """As the viewers read a time: cut off, not rounded."""
    return int(microseconds * 1000.0)


# --- comparisons ---------------------------------------------------------------------------------


def test_a_comparison_divides_the_base_by_the_result() -> None:
    dense, pruned = small(), small(selectors=(1,))
    comparison = compare(dense, pruned)
    base, gain = comparison.gains
    assert (base.speed_up, base.mac_ratio, base.energy_ratio) == (1, 1, 1)
    assert gain.speed_up == dense.latency_s / pruned.latency_s
    assert gain.mac_ratio == dense.macs / pruned.macs > 1
    assert gain.energy_ratio == pytest.approx(dense.energy_j / pruned.energy_j)
    assert gain.realized == gain.speed_up / gain.mac_ratio
    frame = comparison.frame()
    assert list(frame["speed_up"]) == [1, gain.speed_up]
    assert list(frame["mac_ratio"]) == [1, gain.mac_ratio]


def test_a_comparison_counts_by_the_image() -> None:
    one, four = small("a100-80gb"), small("a100-80gb", batch=4)
    gain = compare(one, four).gains[1]
    assert gain.mac_ratio == 1
    assert gain.speed_up == pytest.approx(4 * one.latency_s / four.latency_s)


def test_several_images_are_compared_by_the_image_and_it_says_so() -> None:
    alone = as_text(comparison_view([compare(small(), small())]))
    four = small(batch=4)
    several = replace(four, bindings={}, workload="other")
    text = as_text(comparison_view([compare(four, several)]))
    assert "/image" not in alone
    assert text.count("/image") == 3
    assert "vit: batch=4" in text
    assert "other: batch 4" in text


def test_a_gpu_waits_for_launches_in_every_report() -> None:
    gpu, array = small("a100-80gb"), small()
    text = as_text(result_view(gpu))
    assert re.search(r"^  launches ", text, re.MULTILINE)
    assert not re.search(r"\bwait\b", text)
    assert "wait, launches" in html_text([compare(gpu), compare(array)])


def test_a_gpus_model_engine_and_confidence_are_in_every_report() -> None:
    gpu, array = small("h200"), small()
    said = "kernels, compiled, of its time "
    assert said in as_text(result_view(gpu), 200)
    assert f"GPU model: {said}" in html_text([compare(gpu)])
    assert "interpolated</td>" in html_text([compare(gpu)])
    assert "GPU model" not in html_text([compare(array)])
    text = as_text(comparison_view([compare(array, gpu)]), 200)
    assert f"GPU model of vit on h200: {said}" in text
    assert text.count("GPU model") == 1
    assert f"GPU model of vit: {said}" in as_text(comparison_view([compare(gpu, gpu)]), 200)


def test_confidence_has_one_order() -> None:
    mixed = {"uncalibrated": 1, "extrapolated": 1, "interpolated": 2}
    result = replace(small("h200"), confidence=by_confidence(mixed))
    found = tuple(small("h200").confidence)
    assert found == tuple(label for label in CONFIDENCES if label in found)
    assert tuple(result.confidence) == CONFIDENCES
    assert tuple(result.as_dict()["confidence"]) == CONFIDENCES
    said = "of its time 50.0 % interpolated, 25.0 % extrapolated, 25.0 % uncalibrated"
    assert said in as_text(result_view(result), 200)
    assert get_args(Confidence) == CONFIDENCES


def test_each_kernel_of_a_gpu_says_how_sure_it_is() -> None:
    gpu, array = small("h200"), small()
    operators = gpu.as_dict()["operators"]
    assert [one["confidence"] for one in operators] == [o.confidence for o in gpu.operators]
    assert {one["confidence"] for one in operators} <= {*CONFIDENCES}
    assert not any("confidence" in one for one in array.as_dict()["operators"])
    assert list(gpu.frame()["confidence"]) == [o.confidence for o in gpu.operators]
    assert "confidence" not in array.frame()
    for width, head, short in ((80, r"time +MACs", "i"), (120, r"time +sure ", "interp.")):
        text = as_text(result_view(gpu, all_kernels=True, width=width), width)
        assert re.search(rf"^kernel .*{head}", text, re.MULTILINE)
        assert re.search(rf"^blocks\.0\..*/MatMul .* µs +{short} ", text, re.MULTILINE)
        assert f"{short} = interpolated" in text
    plain = simulate(vit(depth=1, embed=64, heads=2), load_machine("h200"), model="roofline")
    for other in (array, plain):
        assert "how sure" not in as_text(result_view(other, all_kernels=True))


def test_a_sentence_puts_the_speed_up_beside_the_macs() -> None:
    slower = replace(small(), cycles=2 * small().cycles)
    assert compare(small(), slower).sentences == (
        "vit on edge-32x32: MACs equal, latency 2.00x more",
    )


def test_a_sentence_is_right_in_both_orders() -> None:
    dense, pruned = small(), small(selectors=(1,))
    gain = compare(dense, pruned).gains[1]
    for first, second, word, arrow in ((dense, pruned, "fewer", "↓"), (pruned, dense, "more", "↑")):
        comparison = compare(first, second)
        assert f"MACs {gain.mac_ratio:.2f}x {word}, " in comparison.sentences[0]
        assert f" {arrow}{gain.mac_ratio:.2f}x" in str(comparison)
        assert f"{gain.mac_ratio:.2f}x {word}" in html_text([comparison])
    assert compare(dense, dense).sentences[0].endswith(": MACs equal, latency equal")


def test_a_comparison_of_different_batches_says_so() -> None:
    one, four = small(), small(batch=4)
    assert compare(four, four).notes == ()
    assert "the batches differ: vit 4 and vit 1" in compare(four, one).notes[0]
    assert "the batches differ" in as_text(comparison_view([compare(four, one)]), 200)
    assert "the batches differ" in html_text([compare(four, one)])


def test_notes_stand_beside_the_numbers() -> None:
    result = replace(small(), notes=tuple(f"oddity {index}" for index in range(12)))
    views = (result_view(result), comparison_view([compare(result, small())]))
    for text in (*(as_text(view) for view in views), html_text([compare(result)])):
        assert len(re.findall(r"[Nn]ote: oddity \d", text)) == 10
        assert "2 more like these" in text


def test_a_ratio_without_meaning_is_no_number_in_json() -> None:
    nothing = replace(small(), macs=0)
    assert compare(small(), nothing).as_dicts()[1]["mac_ratio"] is None
    assert "not comparable" in compare(small(), nothing).sentences[0]
    json_text(compare(small(), nothing).as_dicts())


def test_a_comparison_prints_as_its_table() -> None:
    text = str(compare(small(), small(selectors=(1,))))
    assert "speed" not in text
    assert "edge-32x32" in text
    assert re.search(r"vit .* [↓↑]\d\.\d\dx", text)
    assert len(repr(compare(small()))) < 100, "a prompt echoes the repr"


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        compare()


# --- rows and tables -----------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
def test_the_rows_of_a_run_add_up_to_the_run(machine: str) -> None:
    result = small(machine)
    for rows in (by_kernel(result), by_module(result, 6), slowest(result, 3)):
        assert math.isclose(sum(row.time_s for row in rows), result.latency_s)
        assert sum(row.macs for row in rows) == result.macs
        assert sum(row.dram_bytes for row in rows) == result.dram_bytes
        assert math.isclose(sum(row.energy_j for row in rows), result.energy_j)
        assert sum(row.kernels for row in rows) == len(result.operators)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_kernel_has_one_utilization(machine: str) -> None:
    result = small(machine)
    assert [row.utilization for row in by_kernel(result)] == [
        operator.utilization for operator in result.operators
    ]
    kernel = next(operator for operator in result.operators if operator.macs)
    other = replace(kernel, utilization=0.4321)  # unlike the share of its window
    changed = replace(
        result, operators=tuple(other if o is kernel else o for o in result.operators)
    )
    assert "43.2 %" in as_text(result_view(changed, all_kernels=True))
    assert "43.2 %" in html_text([compare(changed)])
    assert "module util.:" not in as_text(result_view(changed, all_kernels=True))


def test_the_utilization_of_modules_is_headed_as_such() -> None:
    deep = simulate(vit(depth=9, embed=64, heads=2, image=112), load_machine("a100-80gb"))
    text = as_text(result_view(deep), 80)
    assert re.search(r"^ +module *$", text, re.MULTILINE), "the column's head"
    assert "module util.: MACs done over MACs possible in a module's time" in text
    modules = by_module(deep)
    assert any(row.utilization is None for row in modules)
    shares = [row.share * row.window_utilization for row in modules]
    assert sum(shares) == pytest.approx(deep.utilization)


@pytest.mark.parametrize("limit", range(1, 30))
def test_modules_are_never_more_than_asked_for(limit: int) -> None:
    assert len(by_module(small(), limit)) <= max(limit, 2)


def test_names_without_a_path_fall_back_to_the_slowest_kernels() -> None:
    kernels = tuple(
        replace(kernel, name=f"node_{index}") for index, kernel in enumerate(small().operators)
    )
    rows = by_module(replace(small(), operators=kernels), 5)
    assert len(rows) == 5
    assert rows[-1].name == f"{len(kernels) - 4} other kernels"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("all_kernels", [False, True])
def test_a_result_fits_the_terminal(machine: str, width: int, all_kernels: bool) -> None:
    result = small(machine, (1,))
    text = as_text(result_view(result, width=width, all_kernels=all_kernels), width)
    assert max(map(len, text.splitlines())) <= width
    assert quantity(result.latency_s, "s") in text
    assert quantity(result.energy_j, "J") in text
    assert result.config_hash[:12] in text
    assert max(line.count("…") for line in text.splitlines()) <= 1, "only names are cut"


def test_a_default_is_told_from_what_the_user_bound() -> None:
    text = as_text(result_view(small(selectors=(1,)), given={"kept_1"}))
    assert "kept_1=25\n" in re.sub(" +\n", "\n", text)
    assert "batch=1 (default)" in as_text(result_view(small()))


def test_arithmetic_vector_unit_and_memory_look_alike_in_both_charts() -> None:
    same = {"useful": "mac", "vector": "vector", "memory": "dram"}
    for cause, component in same.items():
        assert CAUSE_COLORS[cause] == ENERGY_COLORS[component]
    others = set(ENERGY_COLORS) - {*same.values(), "compute"}
    owned = {CAUSE_COLORS[cause] for cause in same}
    assert not owned & {ENERGY_COLORS[component] for component in others}


def test_every_cause_unit_and_component_has_a_look_of_its_own() -> None:
    assert tuple(CAUSE_COLORS) == CAUSES
    assert tuple(UNIT_COLORS) == UNITS
    assert len(set(CAUSE_COLORS.values())) == len(CAUSES)
    for machine in MACHINES:
        assert set(small(machine).energy_by_component_j) <= set(ENERGY_COLORS)


@pytest.mark.parametrize("name", machine_names())
def test_every_number_of_a_machine_is_shown_with_its_source(name: str) -> None:
    text = as_text(machine_view(load_machine(name), sources(name)), 200)
    assert "not stated" not in text
    assert "clock_hz" in text
    assert "Hz" in text


def test_a_property_that_holds_or_not_is_no_number() -> None:
    gpu = load_machine("a100-80gb").model_copy(update={"fused_attention": False})
    text = as_text(machine_view(gpu, {}), 200)
    assert re.search(r"fused_attention +no\b", text)
    assert re.search(r"fused_attention +yes\b", as_text(machine_view(load_machine("h200"), {})))


def test_a_workload_is_shown_with_its_symbols() -> None:
    workload = vit(depth=2, embed=64, heads=2, image=112, selectors=(1,))
    text = as_text(workload_view(workload))
    assert re.search(r"kept_1 +0 +49 +to be bound", text)
    bound = as_text(workload_view(workload.with_defaults({"kept_1": 25})))
    assert f"{small(selectors=(1,)).macs:,}" in bound


@given(st.floats(1e-11, 1e14))
def test_a_quantity_keeps_three_digits(value: float) -> None:
    number, prefixed = quantity(value, "J").split()
    scale = {"p": -12, "n": -9, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
    assert len(number.replace(".", "")) == 3
    read = float(number) * 10.0 ** scale[prefixed.removesuffix("J")]
    assert read == pytest.approx(value, rel=6e-3)


@given(st.floats(999.5, 1e14))
def test_long_times_are_whole_seconds(value: float) -> None:
    number, unit = quantity(value, "s").split()
    assert unit == "s"
    assert float(number.replace(",", "")) == pytest.approx(value, abs=0.5)


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
def test_json_holds_every_key_and_no_nan(machine: str) -> None:
    keys = "version workload machine format batch bindings config_hash seed cycles latency_s "
    keys += "latency_per_image_s images_per_s energy_j utilization macs macs_without_attention "
    keys += "parameters losses operators"
    values = json.loads(json_text(small(machine).as_dict()), parse_constant=pytest.fail)
    assert set(keys.split()) <= set(values)
    assert list(values["losses"]) == list(CAUSES)
    operator = values["operators"][0]
    assert {"name", "kind", "macs", "start_cycle", "end_cycle", "dram_bytes"} <= set(operator)
    assert "utilization" in operator
    with pytest.raises(ValueError, match="Out of range float"):
        json_text({"utilization": math.nan})


# --- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
def test_slices_of_a_track_never_overlap_and_last_as_long_as_the_spans(machine: str) -> None:
    result = small(machine)
    document = json.loads(trace_text(result), parse_constant=pytest.fail)
    tracks: dict[int, list[dict[str, Any]]] = {}
    for event in slices(document):
        tracks.setdefault(event["tid"], []).append(event)
    assert tracks
    for track, events in tracks.items():
        ends = 0
        for event in sorted(events, key=lambda event: event["ts"]):
            begin, length = nanoseconds(event["ts"]), nanoseconds(event["dur"])
            assert begin >= ends, "the viewer would drop the slice, or nest it"
            ends = begin + length
        cycles = result.spans.busy_cycles(UNITS[track - 1])
        assert sum(event["args"]["busy_cycles"] for event in events) == cycles
        seconds = sum(nanoseconds(event["dur"]) for event in events) * 1e-9
        assert seconds == pytest.approx(cycles / result.clock_hz, abs=1e-9 * len(events))


def test_tracks_are_units_and_slices_are_kernels() -> None:
    document = trace(small(), small("a100-80gb"))
    events = document["traceEvents"]
    processes = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert processes == ["vit on edge-32x32", "vit on a100-80gb"]
    tracks = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"load weights", "arrays", "vector unit", "store"} <= tracks
    names = {event["name"] for event in slices(document) if event["pid"] == 1}
    assert names == {operator.name for operator in small().operators}
    slice_ = next(slices(document))
    assert {"ts", "dur", "pid", "tid", "cat", "args"} <= set(slice_)
    assert set(slice_["args"]) == {"mapping", "kernel_macs", "kernel_dram_bytes", "busy_cycles"}


def test_a_long_trace_is_merged_and_says_so() -> None:
    whole = trace(small())
    count = len(list(slices(whole)))
    assert not any("merged" in facts for facts in whole["metadata"].values())
    for limit in (count - 1, count // 2):
        merged = trace(small(), limit=limit)
        assert len(list(slices(merged))) <= limit
        assert all("drawn as one" in facts["merged"] for facts in merged["metadata"].values())
        busy = [sum(e["args"]["busy_cycles"] for e in slices(d)) for d in (whole, merged)]
        assert busy[0] == busy[1]


@given(st.lists(st.integers(0, 10**15), min_size=1))
def test_a_time_is_read_back_to_the_nanosecond(times: list[int]) -> None:
    written = microseconds(np.array(times, dtype=np.int64))
    read = json.loads(json.dumps(written.tolist()))
    assert [nanoseconds(time) for time in read] == times


# --- HTML ----------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_is_one_file_that_fetches_nothing() -> None:
    text = html_text([compare(small(), small(selectors=(1,))), compare(small("a100-80gb"))])
    page = _Page(text)
    fetching = {"src", "href", "srcset", "data", "xlink:href", "action", "poster"}
    assert not [attributes for _, attributes in page.tags if fetching & set(attributes)]
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", text)


def test_the_report_shows_headers_comparison_losses_energy_timeline_and_operators() -> None:
    dense, pruned = small(), small(selectors=(1,))
    page = _Page(html_text([compare(dense, pruned)]))
    words = " ".join(page.words)
    for heading in ("What was gained", "Where the time went", "Energy by component", "Timeline"):
        assert heading in words
    assert compare(dense, pruned).sentences[0] in words
    assert dense.config_hash[:12] in words
    assert quantity(pruned.latency_s, "s") in words
    assert "time in" in words
    rows = sum(tag == "tr" for tag, _ in page.tags)
    assert rows > len(dense.operators) + len(pruned.operators)


def test_the_report_escapes_the_names_of_a_foreign_graph() -> None:
    hostile = "<script>alert(1)</script>"
    kernels = tuple(replace(kernel, name=f"{hostile}/x") for kernel in small().operators)
    result = replace(small(), workload=hostile, operators=kernels, notes=(hostile,))
    page = _Page(html_text([compare(result)]))
    assert sum(tag == "script" for tag, _ in page.tags) == 1, "the report's own"


def test_a_run_without_work_can_be_reported() -> None:
    empty = replace(small(), operators=(), cycles=0, spans=Spans.of([]))
    html_text([compare(empty, empty)])
    trace_text(empty)
    views: list[RenderableType] = [result_view(empty), comparison_view([compare(empty, empty)])]
    for view in views:
        as_text(view)
    json_text(empty.as_dict())


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_a_failed_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_text(link, "text")
    assert link.is_symlink()
    assert target.read_text() == "text"


def test_a_device_is_written_to_and_not_replaced() -> None:
    check_writable([Path(os.devnull)])
    write_text(Path(os.devnull), "text")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/out.json", "there is no folder"),
        (".", "it is a folder"),
        ("file/out.json", "there is no folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_known_before_the_work(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=reason):
        check_writable([tmp_path / name])


def test_two_outputs_need_two_files(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="two outputs"):
        check_writable([tmp_path / "a", tmp_path / "." / "a"])


def test_an_input_is_no_output_by_whatever_path(tmp_path: Path) -> None:
    model, link = tmp_path / "vit.onnx", tmp_path / "link"
    model.write_text("model")
    link.symlink_to(model)
    for path in (model, link, tmp_path / "." / "vit.onnx"):
        for output, read in ((path, model), (model, path)):
            with pytest.raises(OutputError, match="is an input"):
                check_writable([output], [read])
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    check_writable([tmp_path / "out"], [circle])  # whoever opens it says what is wrong
    assert model.read_text() == "model"


def test_a_protected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.touch()

    def no(*_: object) -> bool:
        return False

    monkeypatch.setattr(os, "access", no)  # to root every file is open
    with pytest.raises(OutputError, match="write-protected"):
        check_writable([path])


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable([link])
