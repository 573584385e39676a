"""The names that others rely on, and the record of what changed."""

from __future__ import annotations

import re
from pathlib import Path

import xray_otel
from xray_otel._version import __version__

ROOT = Path(__file__).parents[2]


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as the import sorter (ruff RUF022) has them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_exports_are_sorted_and_exist():
    """``xray_otel.__all__`` is sorted, complete and without private names."""
    names = list(xray_otel.__all__)
    assert names == sorted(names, key=order)
    assert [name for name in names if not hasattr(xray_otel, name) or private(name)] == []


def test_changelog_has_the_version():
    """The changelog says what this version brings, or what comes next."""
    headings = re.findall(
        r"^## \[?([^\]\n]+?)\]?(?: - .*)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert {"Unreleased", __version__} & set(headings)
