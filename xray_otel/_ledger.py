"""What this process lost, by run and cause, until the server has been told (decision 0022)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from xray_otel import semconv
from xray_otel._ids import new_run_id

Report = dict[str, object]
"""Attributes of one ``xray.losses`` event."""

_MAX_RUNS = 1_000
"""Runs that are told apart between two reports; what others lost is told without a run."""
_MAX_KINDS = 64
"""Entries of one report."""


class Ledger:
    """Counts losses and makes reports of them. Not safe from several threads: the buffer's lock guards it."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, str]]] = {}
        self._unsent: list[Report] = []

    def add(self, run_id: str, cause: str, what: str, count: int) -> None:
        """Counts ``count`` of ``what``, both words of the convention; run id "" when it is not known."""
        if run_id not in self._counts and len(self._counts) >= _MAX_RUNS:
            run_id = ""
        self._counts.setdefault(run_id, Counter())[cause, what] += count

    def take(self) -> list[Report]:
        """
        Reports of everything that was not reported yet, each with an id of its own.

        One that does not arrive must be given back, and goes out again under the same id:
        the server may have it already, and counts an id once.
        """
        reports, self._unsent = self._unsent, []
        for run_id, counts in self._counts.items():
            entries = sorted(counts.items())[:_MAX_KINDS]
            report: Report = {semconv.RUN_ID: run_id} if run_id else {}
            report[semconv.LOSSES_REPORT_ID] = new_run_id()
            report[semconv.LOSSES_CAUSES] = [cause for (cause, _), _ in entries]
            report[semconv.LOSSES_WHAT] = [what for (_, what), _ in entries]
            report[semconv.LOSSES_COUNTS] = [count for _, count in entries]
            reports.append(report)
        self._counts = {}
        return reports

    def give_back(self, report: Mapping[str, object]) -> None:
        """Keeps a report that did not arrive for the next ``take``."""
        self._unsent.append(dict(report))

    def __bool__(self) -> bool:
        return bool(self._counts or self._unsent)
