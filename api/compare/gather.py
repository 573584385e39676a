"""Reads what the comparison of two runs needs; the only part of it that asks the store."""

from __future__ import annotations

from api.compare.records import Side
from store.reader import Reader


def gather(reader: Reader, run_id: str) -> Side | None:
    """Return one side, or None when the run is unknown. Raises what ``Reader`` raises."""
    detail = reader.run_detail(run_id)
    if detail is None:
        return None
    found = reader.run_decisions(run_id)
    return Side(detail, found.by_step, found.unread)
