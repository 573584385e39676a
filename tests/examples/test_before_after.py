"""A team's way from plain functions to X-Ray: how many lines it takes, and what it gives."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path

import pytest

import xray_otel as xray
from examples import catalogue
from examples.before_after import before, full, minimal
from tests.fixtures.otlp_receiver import Received

FOLDER = Path(before.__file__).parent
PRODUCTS = catalogue.generate(size=300)


def changed_lines(name: str) -> tuple[int, int]:
    """(lines that are new or have changed, lines that went)."""
    old, new = ((FOLDER / f"{file}.py").read_text().splitlines() for file in ("before", name))
    changes = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
    return sum(line[0] == "+" for line in changes), sum(line[0] == "-" for line in changes)


def test_how_many_lines_it_takes():
    """Three lines for the least; forty at most for all."""
    assert changed_lines("minimal") == (3, 0)
    assert max(changed_lines("full")) <= 40


@pytest.mark.parametrize("instrumented", [minimal, full])
def test_nothing_else_changes(traced: Received, instrumented):
    """The same competitor for every product."""
    chosen = [instrumented.find_competitor(PRODUCTS, product) for product in PRODUCTS[:60]]
    assert chosen == [before.find_competitor(PRODUCTS, product) for product in PRODUCTS[:60]]
    assert None in chosen or len(set(chosen)) > 1


def test_the_least(traced: Received):
    """Three lines give each run, how it went, and the decorated step."""
    minimal.find_competitor(PRODUCTS, PRODUCTS[0])
    assert xray.flush(10.0)
    [run] = traced.spans("run")
    assert run.attributes["xray.run.status"] == "completed"
    assert [step.name for step in traced.spans("step")] == ["filter_by_price"]
    assert traced.step("filter_by_price").attributes["xray.run.id"] == run.attributes["xray.run.id"]


def test_all_of_it(traced: Received):
    """Every step with its candidates and reasons, and a funnel without a gap."""
    best = full.find_competitor(PRODUCTS, PRODUCTS[0])
    assert xray.flush(10.0)
    [run] = traced.spans("run")
    assert (run.attributes["xray.run.entity"], run.attributes["xray.run.outcome"]) == (
        PRODUCTS[0].id,
        "matched",
    )
    steps = sorted(traced.spans("step"), key=lambda step: step.attributes["xray.step.index"])
    assert [(step.name, step.attributes["xray.step.type"]) for step in steps] == [
        ("generate_keywords", "llm"),
        ("search", "search"),
        ("filter_by_price", "filter"),
        ("filter_by_rating", "filter"),
        ("filter_by_brand", "filter"),
        ("rank", "rank"),
        ("choose", "select"),
    ]
    funnel = [step.attributes for step in steps[1:]]
    for earlier, later in itertools.pairwise(funnel):
        assert earlier["xray.candidates.out"] == later["xray.candidates.in"]
    for narrowing in funnel[1:4]:
        assert sum(narrowing["xray.reasons.counts"]) >= narrowing["xray.candidates.eliminated"] > 0
    assert best is not None
    assert funnel[-1]["xray.selected.id"] == best.id
    assert len(traced.events("xray.step.decisions")) >= 6


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_the_page_shows_these_lines(name: str):
    """The differences in ``docs/instrument.md`` are those of the programs."""
    page = (FOLDER.parents[1] / "docs" / "instrument.md").read_text(encoding="utf-8")
    shown = [line for line in _block(page, name) if line[:1] in "+-"]
    old, new = ((FOLDER / f"{file}.py").read_text().splitlines() for file in ("before", name))
    changes = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
    assert shown == [line for line in changes if not line.startswith("@@")]


def _block(page: str, name: str) -> list[str]:
    blocks = [part.split("```")[0] for part in page.split("```diff\n")[1:]]
    return [line for line in blocks[("minimal", "full").index(name)].splitlines() if line]
