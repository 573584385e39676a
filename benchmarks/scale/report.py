"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from benchmarks.scale.asking import Times
from benchmarks.scale.questions import Question

RATIO_BAR = 3.0
"""p99 under load, against p99 when nothing else runs."""


@dataclass(slots=True)
class Row:
    """One kind of question."""

    name: str
    bar_ms: float | None
    alone: Times
    loaded: Times | None = None
    rest: Times | None = None

    @property
    def met(self) -> str:
        """Whether the bar is."""
        if self.bar_ms is None:
            return ""
        return "met" if self.alone.p99 < self.bar_ms and not self.alone.cancelled else "NOT MET"


@dataclass(slots=True)
class Report:
    """All of it."""

    context: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def add(self, question: Question, alone: Times) -> Row:
        """Begin the row of a question."""
        row = Row(question.name, question.bar_ms, alone)
        self.rows.append(row)
        return row

    def json(self) -> str:
        """All figures."""
        return json.dumps(
            {"context": self.context, "questions": [_plain(row) for row in self.rows], **self.more},
            default=str,
            indent=1,
        )


def _plain(row: Row) -> dict[str, Any]:
    times = {"alone": row.alone, "loaded": row.loaded, "rest": row.rest}
    return {
        "name": row.name,
        "bar_ms": row.bar_ms,
        **{name: found and found._asdict() for name, found in times.items()},
    }


def line(row: Row) -> str:
    """A row of the table; times in ms."""
    cells = [row.name, f"{row.bar_ms:g}" if row.bar_ms else "–", _cell(row.alone), row.met]
    if row.loaded is not None:
        ratio = row.loaded.p99 / row.alone.p99
        cells += [_cell(row.loaded), f"{ratio:.1f}{'' if ratio <= RATIO_BAR else ' NOT MET'}"]
    if row.rest is not None:
        cells += [*([] if row.loaded else ["", ""]), _cell(row.rest)]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| question | bar p99 | p50 / p99 ms (n) | | while ingest runs | ratio of p99 | by REST |\n|" + "---|" * 7
)


def _cell(times: Times) -> str:
    cancelled = f", {times.cancelled} cancelled" if times.cancelled else ""
    return f"{times.p50:.1f} / {times.p99:.1f} ({times.number}{cancelled})"
