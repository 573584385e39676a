"""Reads what the comparison of two runs needs; the only part of it that asks the store."""

from __future__ import annotations

from dataclasses import replace

from api.compare.records import Side
from api.explain.gather import as_read, read_columns
from store.decisions import Decision, DecisionColumns, rows
from store.reader import Reader

MAX_DECISIONS = 400_000
"""Of one run, the smallest steps first; 100,000 take 0.3 s of processor time: there is an object of each."""


def gather(reader: Reader, run_id: str) -> Side | None:
    """Return one side, or None when the run is unknown. Raises what ``Reader`` raises."""
    detail = reader.run_detail(run_id)
    if detail is None:
        return None
    found = read_columns(reader, detail, MAX_DECISIONS)
    decisions = {
        step: [one for part in parts for one in _rows(part)] for step, parts in found.by_step.items()
    }
    return Side(as_read(detail, found), decisions, found.unread)


def _rows(part: DecisionColumns) -> list[Decision]:
    """The decisions without what is not compared, which may be most of them."""
    return list(rows(replace(part, checks=None, texts=None, text=None)))
