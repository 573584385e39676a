"""
What the store computes from the counts and times of a step or run.

Sent ratios and durations are never used. Every rule answers null rather than guess, and
names what it found wrong as a flag.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from store.copies import flag_key
from store.rows import Flag, StepCopy

_NARROWING = frozenset({"filter", "rank", "select"})
"""Step types that cannot let out more than came in; a search or llm step may expand."""

_MEASURED = frozenset({"rank", "llm"})
"""Step types that owe more than counts."""
_VERDICTS = slice(StepCopy._fields.index("kept"), StepCopy._fields.index("merged") + 1)
"""The counts by verdict, which stand together in a copy."""

_TIME_CODES = frozenset({"time_missing", "time_out_of_range"})


def candidates_out(step: StepCopy) -> int | None:
    """What goes on from the step: as sent, else kept + selected + scored."""
    if step.candidates_out is not None:
        return step.candidates_out
    return _sum(step.kept, step.selected, step.scored)


def drop_ratio(candidates_in: int | None, out: int | None) -> float | None:
    """(in - out) / in; None when in is 0 or unknown, out is unknown, or out > in."""
    if not candidates_in or out is None or not 0 <= out <= candidates_in:
        return None
    return (candidates_in - out) / candidates_in


def duration_ms(started_us: int | None, ended_us: int | None) -> float | None:
    """From two sent times; None when one is missing or they run backwards."""
    if started_us is None or ended_us is None or ended_us < started_us:
        return None
    return (ended_us - started_us) / 1000


def step_flags(step: StepCopy, out: int | None) -> list[Flag]:
    """What is wrong with the counts and measures of a step that has ended."""
    step_type, in_ = step.step_type, step.candidates_in
    flags = []
    if in_ is None or out is None or step_type in _MEASURED:
        flags += [Flag("missing_metric", field) for field in _missing_metrics(step, out)]
    if in_ is not None:
        if out is not None and out > in_ and step_type in _NARROWING:
            flags.append(Flag("out_exceeds_in", "candidates_out", out))
        counts: Any = step[_VERDICTS]
        judged = sum(filter(None, counts))
        # Too many is always a contradiction. Too few is one only when both sides were counted: a
        # sender that counts the kept alone says nothing about the rest.
        if judged > in_ or (judged < in_ and _counts_both(*counts)):
            flags.append(Flag("counts_disagree", "candidates_in", judged))
    return flags


def time_flags(
    sent: Iterable[Flag], started_us: int | None, ended_us: int | None, *, ended: bool
) -> list[Flag]:
    """
    What is wrong with a pair of times, beside what the copies' own flags say already.

    ended: whether an end is due, that is, a terminal copy came.
    """
    if started_us is not None and (started_us <= ended_us if ended_us is not None else not ended):
        return []  # nearly every step and run
    flags = []
    told = {_time_of(flag) for flag in sent if flag.code in _TIME_CODES}
    if started_us is None and "started_at" not in told:
        flags.append(Flag("time_missing", "started_at"))
    if ended and ended_us is None and "ended_at" not in told:
        flags.append(Flag("time_missing", "ended_at"))
    if started_us is not None and ended_us is not None and ended_us < started_us:
        flags.append(Flag("end_before_start", "ended_at"))
    return flags


def flag_objects(flags: Iterable[Flag]) -> list[dict[str, object]] | None:
    """The distinct flags as readers see them, in one order; None when there are none."""
    by_key = {flag_key(flag): flag for flag in flags}
    return [by_key[key]._asdict() for key in sorted(by_key)] or None


def _missing_metrics(step: StepCopy, out: int | None) -> Iterable[str]:
    if step.step_type in ("filter", "rank") and step.candidates_in is None:
        yield "candidates_in"
    if step.step_type in ("filter", "rank", "search") and out is None:
        yield "candidates_out"
    if step.step_type == "rank" and not any(value is not None for value in step.score or ()):
        yield "score"
    if step.step_type == "llm" and step.model is None:
        yield "model"


def _counts_both(
    kept: int | None,
    eliminated: int | None,
    scored: int | None,
    selected: int | None,
    not_selected: int | None,
    deferred: int | None,
    merged: int | None,
) -> bool:
    """Whether a step counted some that go on and some that stay."""
    # Spelled out: two lists of the counts that were sent take four times as long, for each such step.
    going_on = kept is not None or scored is not None or selected is not None
    return going_on and (
        eliminated is not None or not_selected is not None or deferred is not None or merged is not None
    )


def _sum(*counts: int | None) -> int | None:
    """The sum of the counts that were sent, None when there is none."""
    sent = [count for count in counts if count is not None]
    return sum(sent) if sent else None


def _time_of(flag: Flag) -> str:
    # The collector names the field as it was on the wire (start_time_unix_nano, started_at …).
    if "start" in flag.field:
        return "started_at"
    return "ended_at" if "end" in flag.field else flag.field
