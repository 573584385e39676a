"""What ``xray db status`` prints of the database's size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from rich.console import Console

from cli import words
from cli.tables import Column, print_line, print_pairs, print_table
from store.sizes import Sizes, Turn

_KINDS = ("runs", "decisions", "artifacts")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def print_sizes(found: Sizes, out: Console) -> None:
    """Write the sizes by table and by week, and what upkeep does."""
    weeks = sorted({week.week for week in found.weeks if week.rows})
    per = [
        f"{amount:,.0f} bytes per {what}"
        for amount, what in ((found.bytes_per_step, "step"), (found.bytes_per_decision, "decision"))
        if amount is not None
    ]
    lines = [("size", ", ".join([in_bytes(found.bytes), *per]))]
    if weeks:
        lines.append(("weeks", f"{weeks[0]} to {weeks[-1]}"))
    if found.bytes_per_day is not None:
        lines.append(("growth", f"{in_bytes(found.bytes_per_day)} a day"))
    lines += [(f"kept {kind}", f"from {first_day} on") for kind, first_day in sorted(found.floors.items())]
    lines += [(f"upkeep {turn.task}", _said(turn)) for turn in found.upkeep]
    print_pairs(lines, out)
    print_line("", out)
    print_table(_TABLE_COLUMNS, [asdict(table) for table in found.tables if table.rows], out)
    print_line("", out)
    print_table(_WEEK_COLUMNS, _by_week(found), out)


def in_bytes(amount: float) -> str:
    """``1.2 GB``; in powers of 1,000, as disks are sold."""
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _said(turn: Turn) -> str:
    if turn.error is not None:
        return f"failed {turn.failures} times in a row, last with {turn.error}"
    if turn.succeeded_at is None:
        return "goes on for the first time"
    return f"succeeded {words.ago(turn.succeeded_at.isoformat())}, took {turn.duration_s or 0:.1f} s"


def _by_week(found: Sizes) -> list[Mapping[str, Any]]:
    rows: dict[date, dict[str, Any]] = defaultdict(dict)
    for week in found.weeks:
        rows[week.week][week.kind] = week
    return [{"week": week, **kinds} for week, kinds in rows.items() if any(w.rows for w in kinds.values())]


def _cell(kind: str) -> Column:
    def show(row: Mapping[str, Any]) -> str:
        week = row.get(kind)
        if week is None:
            return "expired"
        return in_bytes(week.bytes) + (f" until {week.expires_on}" if week.expires_on else "")

    return Column(kind, show, justify="right")


_TABLE_COLUMNS = (
    Column("table", lambda row: str(row["table"])),
    Column("size", lambda row: in_bytes(row["bytes"]), justify="right"),
    Column("rows", lambda row: f"~{row['rows']:,}", justify="right"),
    Column("bytes/row", lambda row: f"{row['bytes_per_row']:,.0f}", justify="right"),
)
_WEEK_COLUMNS = (Column("week of", lambda row: str(row["week"])), *map(_cell, _KINDS))
