"""What an answer leaves out, in the line under it."""

from __future__ import annotations

import io
from typing import Any, get_args

import pytest
from rich.console import Console

from cli.completeness import print_completeness
from store.queries.types import Evidence


def line(**stated: Any) -> str:
    out = io.StringIO()
    print_completeness({"completeness": stated}, Console(file=out, width=200))
    return out.getvalue().strip()


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"state": "complete", "evidence": "full"}, ""),
        ({"state": "complete", "evidence": "none"}, "completeness: no decisions recorded"),
        ({"state": "running", "evidence": "sampled"}, "completeness: running; decisions of a sample"),
    ],
)
def test_it_says_what_is_missing(stated: dict[str, str], said: str) -> None:
    """In words, and nothing of an answer that is whole."""
    assert line(**stated) == said


@pytest.mark.parametrize("evidence", get_args(Evidence))
def test_every_evidence_has_words(evidence: str) -> None:
    """None is shown as the code for it, nor breaks the command."""
    assert f" {evidence}" not in line(state="complete", evidence=evidence)
