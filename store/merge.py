"""
How the copies of one run or step become one row, whatever their order and number.

A state is what has been learned about a key so far. ``merge_runs`` and ``merge_steps`` join
two states; each of their parts is a minimum, a maximum, or the k smallest of a union, so
joining is commutative, associative and idempotent (but for the counted deliveries and the
times of receipt, which no reader compares). Receipt never decides (decision 0003).

A step's terminal copy is the one that ended *first*: a retry of an acknowledged step must not
rewrite history. A run's is the one that ended *last*: a resumed run is not left crashed. (An end
that its sender calls final has been given a place before all others: decision 0030.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from store.copies import content_hash, flag_key
from store.rows import Flag, RunCopy, RunHeartbeat, RunWait, StepCopy

MAX_TRACE_IDS = 16
MAX_RUN_FLAGS = 32

_LATEST = (1 << 63) - 1
_EARLIEST = -(1 << 63)

Copy = TypeVar("Copy", RunCopy, StepCopy)
Value = TypeVar("Value")
Order = tuple[int, bytes, int]
"""(time as sent, span id or empty, content hash)."""


class Ranked(NamedTuple, Generic[Copy]):
    """A copy and its place among the copies of its key."""

    order: Order
    copy: Copy
    received_us: int
    """Receipt of this copy; stands in for a time that was not sent."""


class Stub(NamedTuple):
    """What a step says about the identity of its run; holds while no run copy says it."""

    order: tuple[int, int, int]
    """(1 without a pipeline else 0, start as sent, hash of the four words)."""
    pipeline: str | None
    pipeline_version: str | None
    service_name: str | None
    environment: str | None


class RunState(NamedTuple):
    """What is known of one run. Times are microseconds since 1970, the store's resolution."""

    run_id: str
    deliveries: int
    received_us: int
    last_received_us: int
    terminal: Ranked[RunCopy] | None = None
    start: Ranked[RunCopy] | None = None
    run_started_us: int | None = None
    first_step_us: int | None = None
    wait: tuple[int, int] | None = None
    """(at, until) of the latest wait; until is ``NO_UNTIL`` when it was not said."""
    stub: Stub | None = None
    trace_ids: tuple[bytes, ...] = ()
    flags: tuple[Flag, ...] = ()


class StepState(NamedTuple):
    """What is known of one step."""

    deliveries: int
    received_us: int
    terminal: Ranked[StepCopy] | None = None
    start: Ranked[StepCopy] | None = None


NO_UNTIL = _EARLIEST
"""Stands for a wait without an end; below every time, so that a stated end wins."""


def bare_run(run_id: str, received_us: int) -> RunState:
    """The state of a run of which only the id is known, such as from its evidence."""
    return RunState(run_id, 0, received_us, received_us)


def run_state(copy: RunCopy, received_us: int) -> RunState:
    """What one run copy says."""
    ranked = rank(copy, received_us)
    return RunState(
        copy.run_id,
        1,
        received_us,
        received_us,
        terminal=ranked if copy.terminal else None,
        start=None if copy.terminal else ranked,
        run_started_us=microseconds(copy.start_ns),
        trace_ids=(copy.trace_id,) if copy.trace_id else (),
        flags=flag_union(copy.flags),
    )


def wait_state(wait: RunWait, received_us: int) -> RunState:
    """What one wait says."""
    until = NO_UNTIL if wait.until_ns is None else wait.until_ns // 1000
    return RunState(
        wait.run_id,
        1,
        received_us,
        received_us,
        wait=(wait.at_ns // 1000, until),
        trace_ids=(wait.trace_id,) if wait.trace_id else (),
    )


def heartbeat_state(heartbeat: RunHeartbeat, received_us: int) -> RunState:
    """What one heartbeat says."""
    return RunState(
        heartbeat.run_id,
        0,
        received_us,
        received_us,
        trace_ids=(heartbeat.trace_id,) if heartbeat.trace_id else (),
        flags=flag_union(heartbeat.flags),
    )


def steps_say(run_id: str, copies: Sequence[StepCopy], received_us: int) -> RunState:
    """What these step copies of one run, at least one, say about the run."""
    started = [copy.start_ns for copy in copies if copy.start_ns is not None]
    trace_ids = {copy.trace_id for copy in copies if copy.trace_id}
    flags = [flag for copy in copies if copy.run_flags for flag in copy.run_flags]
    return RunState(
        run_id,
        0,
        received_us,
        received_us,
        first_step_us=min(started) // 1000 if started else None,
        stub=_first_stub(copies),
        trace_ids=tuple(sorted(trace_ids)[:MAX_TRACE_IDS]),
        flags=flag_union(flags) if flags else (),
    )


def step_state(copy: StepCopy, received_us: int, hashed: int | None = None) -> StepState:
    """What one step copy says; hashed: as for ``rank``."""
    ranked = rank(copy, received_us, hashed)
    if copy.terminal:
        return StepState(1, received_us, terminal=ranked)
    return StepState(1, received_us, start=ranked)


def rank(copy: Copy, received_us: int, hashed: int | None = None) -> Ranked[Copy]:
    """
    A copy with its place among the copies of its kind.

    hashed: its hash where it was taken before. A copy that comes from the database needs it:
    columns do not keep every spelling of a number, so it must not be taken again.
    """
    if hashed is None:
        hashed = content_hash(copy) if copy.sent_hash is None else copy.sent_hash
    if not copy.terminal:
        return Ranked(start_order(copy.start_sent_ns, hashed), copy, received_us)
    if isinstance(copy, StepCopy):
        return Ranked(terminal_order(copy.end_sent_ns, copy.span_id, hashed), copy, received_us)
    # Of runs the last wins, so one that did not say when it ended must come first.
    order = (_or(copy.end_sent_ns, _EARLIEST), copy.span_id or b"", hashed)
    return Ranked(order, copy, received_us)


def start_order(start_sent_ns: int | None, hashed: int) -> Order:
    """The place of a start copy; one that did not say when comes last."""
    return _or(start_sent_ns, _LATEST), b"", hashed


def terminal_order(end_sent_ns: int | None, span_id: bytes | None, hashed: int) -> Order:
    """The place of a step's terminal copy; one that did not say when it ended comes last."""
    return _or(end_sent_ns, _LATEST), span_id or b"", hashed


def merge_runs(one: RunState, other: RunState) -> RunState:
    """Join two states of the same run."""
    return RunState(
        one.run_id,
        one.deliveries + other.deliveries,
        min(one.received_us, other.received_us),
        max(one.last_received_us, other.last_received_us),
        terminal=_pick(one.terminal, other.terminal, max),
        start=_pick(one.start, other.start, min),
        run_started_us=_smaller(one.run_started_us, other.run_started_us),
        first_step_us=_smaller(one.first_step_us, other.first_step_us),
        wait=max(one.wait, other.wait) if one.wait and other.wait else one.wait or other.wait,
        stub=_first_said(one.stub, other.stub),
        trace_ids=_smallest_ids(one.trace_ids, other.trace_ids),
        flags=one.flags if one.flags == other.flags == () else flag_union((*one.flags, *other.flags)),
    )


def merge_steps(one: StepState, other: StepState) -> StepState:
    """Join two states of the same step."""
    return StepState(
        one.deliveries + other.deliveries,
        min(one.received_us, other.received_us),
        terminal=_pick(one.terminal, other.terminal, min),
        start=_pick(one.start, other.start, min),
    )


def adds_nothing(known: RunState, said: RunState) -> bool:
    """Whether ``said``, which must come from steps and heartbeats alone, leaves a run as it is known."""
    return (
        (
            said.first_step_us is None
            or _smaller(known.first_step_us, said.first_step_us) == known.first_step_us
        )
        and (said.stub is None or (known.stub is not None and known.stub.order <= said.stub.order))
        and _smallest_ids(known.trace_ids, said.trace_ids) == known.trace_ids
        and (not said.flags or flag_union((*known.flags, *said.flags)) == known.flags)
    )


def microseconds(time_ns: int | None) -> int | None:
    """A time at the store's resolution; rounds down, so that order is kept."""
    return None if time_ns is None else time_ns // 1000


def flag_union(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """The distinct flags in their own order, at most ``MAX_RUN_FLAGS``."""
    by_key = {flag_key(flag): flag for flag in flags}
    return tuple(by_key[key] for key in sorted(by_key)[:MAX_RUN_FLAGS])


_words = attrgetter("pipeline", "pipeline_version", "service_name", "environment")


@lru_cache(maxsize=4096)
def _words_hash(*words: str | None) -> int:
    return content_hash(words)  # a sender says the same four with every step


def _first_stub(copies: Sequence[StepCopy]) -> Stub:
    named = [copy for copy in copies if copy.pipeline is not None]
    starts = [_or(copy.start_sent_ns, _LATEST) for copy in named or copies]
    first = min(starts)
    words = {_words(copy) for copy, start in zip(named or copies, starts, strict=True) if start == first}
    return min(Stub((0 if named else 1, first, _words_hash(*each)), *each) for each in words)


def _pick(
    one: Ranked[Copy] | None, other: Ranked[Copy] | None, better: Callable[..., Any]
) -> Ranked[Copy] | None:
    if one is None or other is None:
        return one or other
    if one.order == other.order:  # the same copy, delivered twice
        return min(one, other, key=lambda ranked: ranked.received_us)
    winner: Ranked[Copy] = better(one, other, key=lambda ranked: ranked.order)
    return winner


def _first_said(one: Stub | None, other: Stub | None) -> Stub | None:
    if one is None or other is None:
        return one or other
    return one if one.order <= other.order else other


def _smallest_ids(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return one if one == other or not other else tuple(sorted({*one, *other})[:MAX_TRACE_IDS])


def _smaller(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
