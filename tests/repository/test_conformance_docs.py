"""The list of OTLP's rules names tests that exist, and leaves none out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "otlp-conformance.md"


def _named() -> dict[str, set[str]]:
    """Test functions by the file that the page says they are in."""
    page = PAGE.read_text(encoding="utf-8")
    files = dict(re.findall(r"`([A-Z])` =\s+`([\w/]+\.py)`", page))
    named: dict[str, set[str]] = {file: set() for file in files.values()}
    for letter, test in re.findall(r"\b([A-Z]) `(test_\w+)`", page):
        named[files[letter]].add(test)
    return named


def _defined(file: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_named_test_exists():
    """A rule without a test behind it would be a claim."""
    named = _named()
    assert sum(map(len, named.values())) > 30
    assert {file: tests - _defined(file) for file, tests in named.items() if tests - _defined(file)} == {}


def test_every_conformance_test_is_listed():
    """A rule that is tested is on the page."""
    file = "tests/acceptance/test_otlp_conformance.py"
    assert _defined(file) - _named()[file] == set()
