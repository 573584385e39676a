"""The example pipelines as the programs they are: what they decide, whoever listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"
"""The discard port of loopback, on which nothing listens."""


def start_example(name: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    """Start ``python -m examples.<name>`` with ``XRAY_*`` settings; without any, nobody listens to it."""
    return subprocess.Popen(
        [sys.executable, "-m", f"examples.{name}", *arguments],
        cwd=ROOT,
        env=os.environ | {"XRAY_ENDPOINT": NOBODY} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the program printed, once it has ended well."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def decided(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines without the run ids, which are new every time."""
    return [{key: value for key, value in line.items() if key != "run_id"} for line in lines]


def test_fault_matches_phone_case_to_laptop_stand() -> None:
    """With the faulty feed, one phone case is matched to a laptop stand; all other matches fit."""
    lines = lines_of(start_example("competitor_selection", "--runs", "6", "--fault"))
    wrong = [line for line in lines if line["matched"] and line["matched_type"] != line["product_type"]]
    assert [(line["product_type"], line["matched_type"]) for line in wrong] == [
        ("phone_case", "laptop_stand")
    ]
    assert len({line["run_id"] for line in lines}) == 6


def test_whole_feed_matches_by_type() -> None:
    """Without the fault, every match is of its product's type."""
    lines = lines_of(start_example("competitor_selection", "--runs", "6"))
    assert all(line["matched_type"] == line["product_type"] for line in lines if line["matched"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("competitor_selection", ("--runs", "3", "--fault")),
        ("listing_optimisation", ("--runs", "3")),
        ("categorisation", ("--runs", "3")),
    ],
)
def test_recording_does_not_change_decisions(name: str, arguments: tuple[str, ...]) -> None:
    """What a pipeline decides is the same when nobody listens, however much is recorded."""
    started = [start_example(name, *arguments, XRAY_CAPTURE=level) for level in ("full", "metrics_only")]
    full, metrics_only = (lines_of(process) for process in started)
    assert len(full) == 3
    assert decided(full) == decided(metrics_only)


def test_listings_with_gaps(tmp_path: Path) -> None:
    """A file of listings without types, prices and ratings runs through; what it lacks decides nothing."""
    listings: list[dict[str, Any]] = [
        {"name": f"Brand{number % 5} - Case for Phone {number % 7} - Blue", "brand": f"Brand{number % 5}",
         "categories": ["Phones", "Cases"], "price": 10 + number % 9, "popularity": number}
        for number in range(60)
    ]  # fmt: skip
    for number, listing in enumerate(listings):
        for gap, every in (("categories", 4), ("price", 5), ("popularity", 6), ("brand", 7)):
            if number % every == 1:
                listing[gap] = None
    file = tmp_path / "listings.json"
    file.write_text(json.dumps(listings))
    names = ("competitor_selection", "listing_optimisation", "categorisation")
    started = [start_example(name, "--runs", "4", "--catalog", str(file)) for name in names]
    assert [len(lines_of(process)) for process in started] == [4, 4, 4]


def test_unusable_catalogue_ends_in_one_line(tmp_path: Path) -> None:
    """A catalogue that cannot be read ends the program with one line that names it."""
    process = start_example("categorisation", "--catalog", str(tmp_path / "absent.json"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "absent.json" in errors
