"""
Candidates that came one by one, instead of as the columns of a chunk.

Every other shape of decisions ends here: documents of a retrieval, events of a span, parallel
arrays. What a packed chunk and our client's own span would have said is made of them, the
columns and the counts. All of it is linear in the candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from collector.extract.fields import INT64_MAX
from collector.extract.flags import MAX_FLAGS
from collector.extract.identity import step_identity
from store.decisions import DecisionColumns, Scalar
from store.rows import Flag
from xray_otel import semconv

CHUNK_CANDIDATES = 5000
"""Candidates per stored chunk, as for the JSON doors: a reader unpacks one chunk at a time."""
KEPT, SELECTED, NOT_SELECTED = "K", "W", "N"

_DIGEST_BYTES = 8
_LETTERS = {word: letter for letter, word in semconv.VERDICTS.items()} | {
    letter: letter for letter in semconv.VERDICTS
}
_GOING_ON = ("K", "W", "S")
_COUNTS = {letter: f"xray.candidates.{word}" for letter, word in semconv.VERDICTS.items()}
_SCORES = (
    semconv.SCORE_MIN,
    semconv.SCORE_MAX,
    semconv.SCORE_MEAN,
    semconv.SCORE_STD,
    semconv.SCORE_P10,
    semconv.SCORE_P50,
    semconv.SCORE_P90,
)
_MAX_REASONS = 1000
"""Reason codes of a histogram that are read (``fields.MAX_LIST_ITEMS``)."""


class Candidate(NamedTuple):
    """One candidate with its verdict as a letter of ``semconv.VERDICTS``."""

    item: str
    verdict: str
    reason: str | None = None
    text: str | None = None
    score: float | None = None
    value: Scalar = None
    threshold: Scalar = None


class FewFlags(list[Flag]):
    """Flags of a list that may hold a million wrong values: what no row could show is not kept."""

    def append(self, flag: Flag, /) -> None:
        """Keep the flag while there is room."""
        if len(self) < MAX_FLAGS:
            super().append(flag)


def verdict_letter(word: Any) -> str | None:
    """Return the letter of a verdict given as word or letter, None for anything else."""
    return _LETTERS.get(word) if isinstance(word, str) else None


def item_id(sent: Any, content: Any, field: str, flags: list[Flag]) -> str | None:
    """
    Return what an item is called: its id, else a hash of its content, else None.

    Not its position in the list: that is another item in every run, and another one after a
    reranker than before it.
    """
    if type(sent) is int and abs(sent) <= INT64_MAX:
        return str(sent)
    found = step_identity(sent, field, flags)
    if found is not None:
        return found
    if not isinstance(content, str) or not content:
        return None
    digest = blake2b(content.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"content:{digest.hexdigest()}"


def columns(candidates: Sequence[Candidate]) -> Iterator[DecisionColumns]:
    """Return the candidates as the columns of chunks, ``CHUNK_CANDIDATES`` at a time."""
    for at in range(0, len(candidates), CHUNK_CANDIDATES):
        yield _columns(candidates[at : at + CHUNK_CANDIDATES])


def counts(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return what a span would have said about its candidates, by attribute; not how many came in."""
    verdicts = Counter(candidate.verdict for candidate in candidates)
    found: dict[str, Any] = {_COUNTS[letter]: count for letter, count in verdicts.items()}
    found[semconv.CANDIDATES_OUT] = sum(verdicts[letter] for letter in _GOING_ON)
    reasons = Counter(candidate.reason for candidate in candidates if candidate.reason is not None)
    if reasons:
        most = reasons.most_common(_MAX_REASONS)
        found[semconv.REASONS_CODES] = [code for code, _ in most]
        found[semconv.REASONS_COUNTS] = [count for _, count in most]
    chosen = [candidate.item for candidate in candidates if candidate.verdict == SELECTED]
    if len(chosen) == 1:
        found[semconv.SELECTED_ID] = chosen[0]
    scores = [candidate.score for candidate in candidates if candidate.score is not None]
    if scores:
        found |= zip(_SCORES, _statistics(scores), strict=True)
    return found


def _columns(candidates: Sequence[Candidate]) -> DecisionColumns:
    items, verdicts, reasons, texts, scores, values, thresholds = zip(*candidates, strict=True)
    reason_words, reason = _dictionary(reasons)
    text_words, text = _dictionary(texts)
    return DecisionColumns(
        count=len(candidates),
        item=items,
        verdict="".join(verdicts),
        reasons=reason_words,
        reason=reason,
        texts=text_words,
        text=text,
        score=_given(scores),
        value=_given(values),
        threshold=_given(thresholds),
    )


def _given(column: Sequence[Any]) -> Sequence[Any] | None:
    return None if column.count(None) == len(column) else column


def _dictionary(column: Sequence[str | None]) -> tuple[list[str] | None, list[int | None] | None]:
    if _given(column) is None:
        return None, None
    positions: dict[str, int] = {}
    indexes = [None if word is None else positions.setdefault(word, len(positions)) for word in column]
    return list(positions), indexes


def _statistics(scores: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(scores)
    count = len(ordered)
    try:
        mean = math.fsum(ordered) / count
    except OverflowError:
        mean = math.fsum(score / count for score in ordered)
    std = math.dist(ordered, [mean] * count) / math.sqrt(count)
    shares = (_percentile(ordered, share) for share in (0.1, 0.5, 0.9))
    return (ordered[0], ordered[-1], mean, std, *shares)


def _percentile(ordered: Sequence[float], share: float) -> float:
    position = (len(ordered) - 1) * share
    low = int(position)
    if low + 1 == len(ordered):
        return ordered[low]
    weight = position - low
    return ordered[low] * (1 - weight) + ordered[low + 1] * weight
