"""Published numbers beside simulated ones: every row once, fixed ones apart, errors by hand."""

# pyright: reportPrivateUsage=false

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tilewise.arch import Accelerator, UnrolledArray, load_machine
from tilewise.cli import main
from tilewise.reports.papers import CLOSE, reproduction_values, reproduction_view, summary
from tilewise.reports.table import as_text
from tilewise.sim import papers
from tilewise.sim.papers import gpu
from tilewise.sim.papers.rows import Claim, published, rows_of
from tilewise.workloads.zoo.quasar import QUASAR_LARGE, quasar_vit

LINES = Path(papers.__file__).with_name("published.csv").read_text(encoding="utf-8").splitlines()
PUBLISHED = list(csv.DictReader(line for line in LINES if not line.startswith("#")))


def no_run(*_: str | int) -> float:
    return 1.0


@pytest.fixture(scope="module")
def found() -> dict[str, papers.Reproduction]:
    """Every paper; of GPUs, whose 78 runs take longer than all else, tables without the runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_sdxl", "_cached", "_tome", "_step", "_timm", "_vit"):
            patch.setattr(gpu, name, no_run)
        tables = gpu.reproduction()
    return {name: tables if name == "gpu" else papers.reproduce(name) for name in papers.PAPERS}


@pytest.mark.parametrize(
    ("key", "simulated"),
    [
        ("sdxl-compiled", lambda: gpu._sdxl("compiled", "kernels")),
        ("a5000-512-8-i3b0", lambda: gpu._cached("512", "8", "i3b0", "kernels")),
        ("timm-5090-tiny", lambda: gpu._timm("5090", "tiny", "kernels")),
        ("vit-v100-16-compiled", lambda: gpu._vit("v100", "16", "compiled", "kernels")),
    ],
)
def test_printed_times_of_gpus_are_predicted(key: str, simulated: Callable[[], float]) -> None:
    (printed,) = (line.published for line in published("gpu") if line.key == key)
    assert simulated() == pytest.approx(printed, rel=0.08)


@pytest.mark.slow
def test_all_printed_times_of_gpus_are_nearer_than_the_rooflines() -> None:
    found = papers.reproduce("gpu").rows
    diffusion = [row for row in found if row.line.key.split("-")[0] not in ("timm", "vit")]
    errors = [abs(row.error or 0) for row in diffusion]
    assert sum(errors) / len(errors) < 0.1
    assert sum(error <= 0.15 for error in errors) >= 40
    for row in found:
        assert abs(row.error or 0) < max(0.3, abs(row.roofline_error or 0))
        assert len(row.note) > 100 or abs(row.error or 0) <= CLOSE


def rows(found: dict[str, papers.Reproduction]) -> dict[str, papers.Row]:
    return {row.line.key: row for each in found.values() for row in each.rows}


def test_every_published_number_appears_exactly_once(
    found: dict[str, papers.Reproduction],
) -> None:
    keys = [row.line.key for each in found.values() for row in each.rows]
    assert sorted(keys) == sorted(line["key"] for line in PUBLISHED)
    assert len(set(keys)) == len(keys)


def test_a_number_keeps_its_value_its_provenance_and_its_source(
    found: dict[str, papers.Reproduction],
) -> None:
    by_key = rows(found)
    for line in PUBLISHED:
        row = by_key[line["key"]]
        assert row.line._asdict() == line | {"published": float(line["published"])}
        assert row.line.source
        assert row.line.provenance in ("seen", "recalled")


def test_what_is_not_compared_says_why(found: dict[str, papers.Reproduction]) -> None:
    for line in PUBLISHED:
        row = rows(found)[line["key"]]
        assert (row.kind == "not comparable") == bool(line["reason"])
        assert (row.simulated is None) == (row.error is None) == bool(line["reason"])
        if line["reason"]:
            assert row.note == line["reason"]


def test_a_number_without_a_claim_or_a_claim_without_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"large-rate.*medium-rate.*nothing.*small-rate"):
        rows_of("quasar-vit", {"nothing": Claim(1.0)})


def test_each_family_has_one_row_that_chooses_a_parameter(
    found: dict[str, papers.Reproduction],
) -> None:
    chosen = [row.line.key for row in rows(found).values() if row.note.startswith("Fixes ")]
    assert chosen == ["s-pruned-latency", "large-rate"]
    fixed = {row.line.key for row in rows(found).values() if row.kind == "fixed"}
    # The same measurement as a rate, and two powers that the energy table was fitted on.
    assert fixed == {*chosen, "s-pruned-rate", "s-pruned-power", "b-pruned-power"}


def test_only_predicted_rows_are_counted(found: dict[str, papers.Reproduction]) -> None:
    for each in found.values():
        counts = summary(each)
        for provenance in ("seen", "recalled"):
            predicted = [
                row for row in each.rows
                if row.kind == "predicted" and row.line.provenance == provenance
            ]  # fmt: skip
            close = [
                r
                for r in predicted
                if r.simulated and abs(r.simulated / r.line.published - 1) < CLOSE
            ]
            assert (f"{len(close)} of {len(predicted)} {provenance}" in counts) == bool(predicted)
    assert "fixed on 4 others" in summary(found["heatvit"])
    assert "fixed on 1 other" in summary(found["quasar-vit"])
    assert "fixed on none" in summary(found["tri-level"])


def test_a_seen_prediction_is_close_or_says_why_not(
    found: dict[str, papers.Reproduction],
) -> None:
    far = {
        row.line.key: row
        for row in rows(found).values()
        if row.kind == "predicted" and row.line.provenance == "seen" and abs(row.error or 0) > CLOSE
    }
    far = {key: row for key, row in far.items() if row.line.paper != "gpu"}
    assert far.keys() == {"both-high", "medium-rate", "small-rate"}
    assert all(len(row.note) > 100 for row in far.values())


@pytest.mark.parametrize(
    ("key", "simulated", "error"),
    [
        # Simulated once, on 2026-11-23; the errors are by hand.
        ("s-pruned-latency", 9.133, -0.0019),
        ("pruning-low", 1.883, 0.035),
        ("bits-gain", 1.848, -0.027),
        ("both-low", 3.234, -0.065),
        ("both-high", 3.596, -0.265),
        ("large-rate", 95.80, -0.056),
        ("small-rate", 138.7, -0.449),
        ("s-block-10", 2.598, -0.178),
        ("tri-level-0.9-time", 72.58, -0.139),
        ("tri-level-0.8-time", 64.94, -0.075),
        ("tri-level-0.7-time", 58.70, -0.107),
    ],
)
def test_errors_are_of_what_is_simulated_over_what_is_published(
    found: dict[str, papers.Reproduction], key: str, simulated: float, error: float
) -> None:
    row = rows(found)[key]
    assert row.simulated == pytest.approx(simulated, rel=1e-3)
    assert row.error == pytest.approx(error, abs=6e-4)


def test_gains_are_ratios_of_the_rates_that_are_shown(
    found: dict[str, papers.Reproduction],
) -> None:
    rate = {key: row.simulated or 0.0 for key, row in rows(found).items()}
    both = [rate[f"{size}-pruned-rate{'-a' * (size == 't')}"] / rate[f"{size}-dense-rate"]
            for size in "tsb"]  # fmt: skip
    assert (rate["both-low"], rate["both-high"]) == pytest.approx((min(both), max(both)))
    assert rate["s-pruned-latency"] * rate["s-pruned-rate"] == pytest.approx(1000)


def test_the_machine_of_quasar_vit_is_that_of_heatvit_but_for_its_packing() -> None:
    packed, plain = load_machine("zcu102-quasar"), load_machine("zcu102-heatvit")
    assert isinstance(packed, Accelerator)
    assert isinstance(plain, Accelerator)
    assert isinstance(packed.array, UnrolledArray)
    assert isinstance(plain.array, UnrolledArray)
    same = {"name": plain.name, "description": plain.description, "array": plain.array}
    assert packed.replace(**same) == plain
    rates = plain.array.macs_per_pe_cycle
    assert packed.array.replace(tm=72, pes_per_slice=1, macs_per_pe_cycle=rates) == plain.array
    # A PE is half a slice: 2304 of 2520, four 4-bit or two 8-bit products in each.
    assert packed.array.pes == 2 * plain.array.pes
    assert packed.array.macs_per_pe_cycle.most("int4", "int6") == 2


def test_activations_of_quasar_vit_have_the_bits_that_are_asked_for() -> None:
    for width in (6, 8):
        model = quasar_vit(QUASAR_LARGE, activations=width)
        assert {operator.format for operator in model.operators} == {f"int{width}"}


def test_the_command_prints_every_compared_row_and_writes_the_numbers(
    found: dict[str, papers.Reproduction],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    other = papers.Sensitivity(
        title="the engine",
        readings=("large", "small"),
        published=(101.5, None),
        variants=(("as it is", (95.8, 138.7)), ("300 MHz", (191.4, 277.3))),
    )
    monkeypatch.setattr(papers, "sensitivities", dict.fromkeys(papers.PAPERS, (other,)).get)
    monkeypatch.setenv("COLUMNS", "100")
    file = tmp_path / "quasar.json"
    with pytest.raises(SystemExit) as exit:
        main(["reproduce", "quasar-vit", "--json", str(file)])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    for text in ("large: mixed rows, A6", "-5.6 %", "fixed", "a 1", "not compared:", "191.40"):
        assert text in shown
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(reproduction_values(found["quasar-vit"], (other,))))


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_are_readable(found: dict[str, papers.Reproduction], width: int) -> None:
    for each in found.values():
        shown = as_text(reproduction_view(each, width=width), width)
        assert all(len(line) <= width for line in shown.splitlines())
        assert "…" not in shown
        words = " ".join(shown.split())
        for row in each.rows:
            if row.claim:
                assert row.line.model in words
                # A name that is broken has its numbers behind its first words.
                assert row.line.what.split()[0] in words


def test_rows_stand_under_their_models_and_what_never_changes_has_no_column(
    found: dict[str, papers.Reproduction],
) -> None:
    lines = as_text(reproduction_view(found["gpu"], width=80), 80).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("SD 2.1 on RTX A5000, s "))
    assert lines[at].split()[-2:] == ["b", "4"]  # the source and the note of all its rows
    assert lines[at + 1].startswith(" 512 x 512, batch 8, all steps full ")
    head = next(line for line in lines if "published" in line and "error" in line)
    assert head.split() == ["published", "simulated", "error", "roofline", "see"]
    assert not any("predicted" in line for line in lines[: at + 40])
    assert any(
        line.endswith("tutorials/fast_diffusion.md (seen)") for line in map(str.rstrip, lines)
    )
    mixed = as_text(reproduction_view(found["heatvit"], width=80), 80)
    for text in ("fixed", "counted", "seen a 1", "recalled", "images/s"):
        assert text in mixed


def test_each_network_has_both_models_mean_errors(found: dict[str, papers.Reproduction]) -> None:
    rows = [row for row in found["gpu"].rows if row.line.model == "SDXL on A100"]
    own, plain = (
        sum(abs(error or 0) for error in errors) / len(rows)
        for errors in zip(*((row.error, row.roofline_error) for row in rows), strict=True)
    )
    shown = as_text(reproduction_view(found["gpu"], width=80), 80)
    line = next(x for x in reversed(shown.splitlines()) if x.startswith("SDXL on A100"))
    assert line.split()[3:] == ["6", f"{100 * own:.0f}", "%", f"{100 * plain:.0f}", "%"]
    values = reproduction_values(found["gpu"])["mean_errors"]
    assert values[0] == {
        "model": "SDXL on A100", "rows": 6, "error": own, "roofline_error": plain,
    }  # fmt: skip
    assert "mean_errors" not in reproduction_values(found["heatvit"])
    assert "mean of absolute" not in as_text(reproduction_view(found["heatvit"]))


def test_an_unknown_paper_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["reproduce", "heatvlt"])
    assert exit.value.code == 2
    assert "did you mean heatvit?" in capsys.readouterr().err
