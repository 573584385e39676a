"""The list of metrics in the manual is the one in the code."""

from __future__ import annotations

from docs.generate_metrics import TARGET, generate


def test_the_list_is_fresh():
    """``python -m docs.generate_metrics`` was run after the last change."""
    assert TARGET.read_text(encoding="utf-8") == generate()
