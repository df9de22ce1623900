"""What is shipped is a trace, is found by its name, and is what the documents say it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tilewise.workloads import tokens
from tilewise.workloads.tokens import TokenTrace, published, trace, trace_names
from tilewise.workloads.zoo import dinov2_trace, load, vits
from tilewise.workloads.zoo.digits16_trace import TRACES

REPOSITORY = Path(__file__).parents[1]
DOCUMENT = (REPOSITORY / "docs" / "traces.md").read_text()
MEASURED = ("digits16", "dinov2-crops")


def table(name: str) -> list[list[str]]:
    """The rows of the document's table whose first column holds `name`."""
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in DOCUMENT.splitlines()]
    return [row for row in rows if row[0] == f"`{name}`"]


@pytest.mark.parametrize("name", trace_names())
def test_a_shipped_trace_is_found_by_its_name(name: str) -> None:
    found = trace(name)
    assert found.name == name
    assert found.selectors == (len(found.over) or 3)
    assert found.source
    assert found == trace(name)


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_trace_is_what_the_document_says(name: str) -> None:
    path = TRACES / f"{name}.csv"
    content = path.read_bytes()
    assert len(content) < 200_000
    assert hashlib.sha256(content).hexdigest() in DOCUMENT
    found = trace(name)
    said = dict(enumerate(table(name), start=1))
    assert said, "the document has no row for it"
    for selector, row in said.items():
        column = found.array()[:, selector - 1]
        assert row[1:] == [
            str(selector),
            f"{column.mean():.1f}",
            f"{column.mean() / found.patches:.3f}",
            f"{column.std():.1f}",
            *(str(found.percentile(p)[selector - 1]) for p in (0, 5, 50, 95, 100)),
        ]
    assert len(set(found.labels)) == found.images, "every image has a name of its own"
    assert len(set(found.counts)) > found.images / 4, "images differ"


def test_the_shipped_traces_have_the_images_that_their_programs_run() -> None:
    crops = trace("dinov2-crops")
    pictures = len(dinov2_trace.PHOTOGRAPHS) + len(dinov2_trace.PICTURES)
    assert crops.images == dinov2_trace.CROPS * pictures >= 500
    assert crops.patches == dinov2_trace.PATCHES
    for mean, keep in zip(crops.keep_ratios(), dinov2_trace.KEEP, strict=True):
        assert mean == pytest.approx(keep, abs=0.05), "the masses were chosen for these"
    digits = trace("digits16")
    assert digits.patches == vits.HEATVIT_DIGITS16.patches == 64
    assert digits.images == 2 * (1797 // 5)


def test_the_digits_model_defaults_to_the_mean_of_its_trace() -> None:
    model = load("heatvit-digits16")
    assert {s.name: s.default for s in model.symbols} == trace("digits16").mean_binding()
    assert model.symbols[0].upper == trace("digits16").patches


@pytest.mark.parametrize("name", tokens.published_names())
def test_a_published_trace_is_one_row_with_its_provenance(name: str) -> None:
    found: TokenTrace = published(name)
    assert found.images == 1
    assert re.match(r"published mean keep ratios \((seen|recalled)\): ", found.source)
    assert ("recalled" in found.source) == name.startswith("heatvit-deit-small")
    assert f"`{name}`" in DOCUMENT
