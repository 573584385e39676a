"""What a step keeps of its decisions: exact counts always, chunks as its capture level says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from xray_otel import semconv
from xray_otel._capture import sample
from xray_otel._columns import KEPT, Columns, Recorder, Sent, Tally, supersede
from xray_otel._decisions import Chunk, encode
from xray_otel._encode import text_of
from xray_otel._mask_columns import mask_columns
from xray_otel._statistics import summarize
from xray_otel._text import NAME_BYTES
from xray_otel._words import counted
from xray_otel.settings import Capture

Send = Callable[[Chunk, int, int | None], None]
"""Sends one chunk: (chunk, index counted from 0, total or None while the step runs)."""

_COUNTS = (
    ("K", semconv.CANDIDATES_KEPT),
    ("E", semconv.CANDIDATES_ELIMINATED),
    ("S", semconv.CANDIDATES_SCORED),
    ("W", semconv.CANDIDATES_SELECTED),
    ("N", semconv.CANDIDATES_NOT_SELECTED),
    ("D", semconv.CANDIDATES_DEFERRED),
    ("M", semconv.CANDIDATES_MERGED),
)
_MAX_REASONS = 256
"""A reason is a code, not a text; a histogram of more kinds would blow the span up."""


class Evidence:
    """The decisions of one step. ``spill`` may come from any thread, ``finish`` once."""

    __slots__ = (
        "_chunks",
        "_followed",
        "_lock",
        "_recorded",
        "_sample_size",
        "_seed",
        "_sent",
        "level",
        "lost",
        "recorder",
        "rules",
        "tally",
    )

    def __init__(self, level: Capture, sample_size: int, seed: str, followed: Collection[str]) -> None:
        """
        sample_size and level as in the settings. seed: the same for all steps of a run.
        followed: ids that are never left out of a sample; more may come while the step runs.
        """
        self.recorder = Recorder()
        self.tally = Tally()
        self.level = level
        self._sample_size = sample_size
        self._seed = seed
        self._followed = followed
        self._lock = threading.RLock()
        self._sent: Sent | None = None
        self._recorded = 0
        self._chunks = 0
        self.lost = 0
        """Decisions that should have been sent when ``spill`` or ``finish`` raised."""
        self.rules: dict[str, Any] | None = None
        """What the step declares of its rules; sent with its last chunks."""

    def spill(self, send: Send) -> None:
        """Encodes and sends what has gathered, while the step goes on."""
        with self._lock:
            self._take(send, last=False)

    def finish(self, send: Send) -> None:
        """Encodes and sends the rest."""
        with self._lock:
            self._take(send, last=True)

    def _take(self, send: Send, last: bool) -> None:
        columns = self.recorder.take()
        if columns is None:
            return
        recorded = self._recorded
        try:
            columns = self._prepare(columns, last)
            if columns is not None:
                self._send(columns, send, last)
        except Exception:
            self.lost += 0 if columns is None else len(columns) - (self._recorded - recorded)
            raise

    def _prepare(self, columns: Columns, last: bool) -> Columns | None:
        """Counts them, and leaves what the level wants to be sent."""
        columns = supersede(columns)
        if self._sent is not None:
            columns = self._sent.reconcile(columns, self.tally)
        if not last:
            self._sent = self._sent or Sent()
            self._sent.remember(columns)
        mask_columns(columns)  # after the rows of one item were brought together by its own id
        self.tally.add(columns)
        if self.level == "metrics_only":
            return None
        if self.level == "sampled" and len(columns):
            return sample(columns, self._sample_size, self._seed, _as_sent(self._followed))
        return columns

    def _send(self, columns: Columns, send: Send, last: bool) -> None:
        chunks = encode(columns, self.rules if last else None)
        total = self._chunks + len(chunks) if last else None
        for chunk in chunks:
            send(chunk, self._chunks, total)
            self._chunks += 1
            self._recorded += chunk.size

    def attributes(self, *, is_source: bool, declared: list[str]) -> dict[str, object]:
        """
        Counts, reasons, score statistics and the extent of the evidence, as span attributes.

        is_source: the step makes candidates (search), so it has no ``in``.
        declared: reason codes that are listed with 0 when they did not occur.
        """
        found: dict[str, object] = {}
        tally = self.tally
        judged = tally.judged
        if judged or self.recorder.touched:
            if not is_source:
                found[semconv.CANDIDATES_IN] = judged
            found[semconv.CANDIDATES_OUT] = tally.out
            for letter, key in _COUNTS:
                if letter in tally.verdicts:
                    found[key] = tally.verdicts[letter]
            if tally.selected is not None and tally.verdicts["W"] == 1:
                found[semconv.SELECTED_ID] = text_of(tally.selected, NAME_BYTES)
            found[semconv.DECISIONS_RECORDED] = self._recorded
            found[semconv.DECISIONS_CHUNKS] = self._chunks
        if tally.reasons or declared:
            found |= self._reasons(declared)
        if tally.scores:
            found |= self._scores()
        return found

    def _reasons(self, declared: list[str]) -> dict[str, object]:
        counts = dict(sorted(self.tally.reasons.items(), key=lambda pair: -pair[1]))
        for code in declared:
            counts.setdefault(code, 0)
        kept = list(counts)[:_MAX_REASONS]
        return {semconv.REASONS_CODES: kept, semconv.REASONS_COUNTS: [counts[code] for code in kept]}

    def complaints(self, declared: list[str]) -> Iterator[str]:
        """What of the step was left out."""
        if self.recorder.odd_scores:
            yield f"{counted(self.recorder.odd_scores, 'score is', 'scores are')} no number"
        if len(self.tally.reasons) + len(declared) > _MAX_REASONS:
            more = len({*self.tally.reasons, *declared}) - _MAX_REASONS
            if more > 0:
                yield (
                    f"{counted(more, 'reason is', 'reasons are')} not counted beside {_MAX_REASONS} others; "
                    "a reason is a code, what differs between candidates belongs into text"
                )

    def _scores(self) -> dict[str, object]:
        summary = summarize(self.tally.scores)
        if summary is None:
            return {}
        return {
            semconv.SCORE_MIN: summary.min,
            semconv.SCORE_MAX: summary.max,
            semconv.SCORE_MEAN: summary.mean,
            semconv.SCORE_STD: summary.std,
            semconv.SCORE_P10: summary.p10,
            semconv.SCORE_P50: summary.p50,
            semconv.SCORE_P90: summary.p90,
        }


def _as_sent(items: Collection[str]) -> Collection[str]:
    """The ids as they leave the process, masked as those of decisions are."""
    if not items:
        return items
    columns = Columns(list(items), KEPT * len(items))
    mask_columns(columns)
    return set(columns.items)
