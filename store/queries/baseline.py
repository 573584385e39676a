"""
What a run is held against: the latest completed runs of the same pipeline and version.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    func,
    not_,
    select,
    type_coerce,
)
from sqlalchemy.types import NULLTYPE

from store.engine import BINARY
from store.ids import run_key
from store.kept import Kept, rows
from store.queries.keys import among, of_keys
from store.queries.outcome_terms import marked
from store.schema import runs, steps

BASELINE_RUNS = 200
"""Enough for medians that hold still, few enough to read in a few milliseconds."""
REMEMBERED_BYTES = 16 << 20
"""Of baselines that are remembered; one of 20 steps with five reasons each is taken for 34 kB."""
_STEP_BYTES, _ENTRY_BYTES = 700, 200
"""What a step takes in memory, and each of its reasons and fields; names of usual length."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far values usually lie from it."""

    n: int
    median: float
    deviation: float
    """Median of the absolute distances from the median."""


@dataclass(frozen=True, slots=True)
class StepBaseline:
    """One step, by its name, in the runs of the baseline."""

    name: str
    n: int
    """Executions that ended without error."""
    drop_ratio: Spread | None
    """None when no execution has one."""
    reasons: Mapping[str, int]
    """Candidates per reason over all executions; a reason that was declared and never given stands with 0."""
    reasons_n: int
    """Executions that sent a reason histogram."""
    judged: int
    """Candidates that came in over the executions with a histogram."""
    missing: Mapping[str, Spread]
    """Field name to the share of items, 0 to 1, that left the step without a value for it."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Empty (``runs`` 0) for the first run of a pipeline and version."""

    pipeline: str | None
    pipeline_version: str | None
    runs: int
    steps: Mapping[str, StepBaseline] = field(default_factory=dict)


class Found(NamedTuple):
    """A run that others are held against."""

    run_key: UUID
    run_day: date
    run_id: str


class StepRow(NamedTuple):
    """The columns of a step that the baseline is made of."""

    name: str
    candidates_in: int | None
    drop_ratio: float | None
    reason_codes: Sequence[str] | None
    reason_counts: Sequence[int] | None
    fields: Mapping[str, Mapping[str, float | None]] | None


class Baselines:
    """
    Baselines that were summarised before: of the same rows the same, however long ago. Reading the steps
    of 200 runs takes ten times as long as asking whether they are as they were. Safe in several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[State, Baseline] = OrderedDict()
        self._bytes = 0

    def get(self, state: State) -> Baseline | None:
        """The baseline of rows in this state; None when it is not known."""
        with self._lock:
            found = self._known.get(state)
            if found is not None:
                self._known.move_to_end(state)
            return found

    def put(self, state: State, made: Baseline) -> None:
        """Remember a baseline; those not asked for the longest are forgotten for it."""
        if _bytes(state, made) > REMEMBERED_BYTES:
            return
        with self._lock:
            if state not in self._known:
                self._known[state] = made
                self._bytes += _bytes(state, made)
            while self._bytes > REMEMBERED_BYTES:
                self._bytes -= _bytes(*self._known.popitem(last=False))


class State(NamedTuple):
    """What a baseline depends on."""

    pipeline: str
    pipeline_version: str | None
    steps: bytes
    """
    A hash of, per run, the latest first: its key, its id, and of its steps the number, the deliveries and the
    hashes of their contents. Whatever is stored of a step counts as a delivery; steps that are moved or gone
    with their week are fewer; and an erased run, whose steps were changed, has another id.
    """


def baseline(
    connection: Connection,
    known: Baselines,
    pipeline: str | None,
    pipeline_version: str | None,
    *,
    without: str,
    limit: int = BASELINE_RUNS,
    bad: Collection[str] = (),
) -> Baseline:
    """
    Summarise the latest ``limit`` completed runs of a pipeline and version, except the run ``without``.

    bad: names of late outcomes that mark a run as none to compare with (``outcome_terms.marked``).

    A pipeline without a name has no baseline. Two statements, and where it is not ``known`` one more: the
    runs come from ``ix_runs_pipeline_started`` read backwards, their steps by primary key.
    """
    if pipeline is None:
        return Baseline(None, pipeline_version, 0)
    found = runs_of_the_kind(connection, pipeline, pipeline_version, without, limit, bad)
    if not found:
        return Baseline(pipeline, pipeline_version, 0)
    state = State(pipeline, pipeline_version, _state(connection, found))
    made = known.get(state)
    if made is None:
        made = Baseline(pipeline, pipeline_version, len(found), _summarised(connection, found))
        known.put(state, made)
    return made


_STATE = Kept(
    select(
        steps.c.run_key,
        cast(func.count(), BigInteger).label("count"),
        cast(func.sum(steps.c.deliveries), BigInteger).label("deliveries"),
        cast(func.coalesce(func.bit_xor(steps.c.content_hash), 0), BigInteger).label("content"),
    )
    .where(among(steps))
    .group_by(steps.c.run_key),
    opens_few=True,
)


def _state(connection: Connection, found: Sequence[Found]) -> bytes:
    (counted,) = rows(connection, (_STATE, of_keys((one.run_key, one.run_day) for one in found)))
    of_run = {row["run_key"]: (row["count"], row["deliveries"], row["content"]) for row in counted}
    said = [(one.run_key.int, one.run_id, of_run.get(one.run_key)) for one in found]
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _summarised(connection: Connection, found: Sequence[Found]) -> Mapping[str, StepBaseline]:
    statement = select(*(as_sent(steps.c[name]) for name in StepRow._fields)).where(
        and_(
            steps.c.run_key.in_([one.run_key for one in found]),
            # Names the partitions: without it every week would be searched.
            steps.c.run_day.in_(sorted({one.run_day for one in found})),
            steps.c.status == "ok",
        )
    )
    return summarise(map(StepRow._make, connection.execute(statement, execution_options=BINARY).all()))


def _bytes(state: State, made: Baseline) -> int:
    """About what it takes in memory."""
    entries = sum(len(step.reasons) + len(step.missing) for step in made.steps.values())
    return len(state.steps) + len(made.steps) * _STEP_BYTES + entries * _ENTRY_BYTES


def as_sent(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the driver reads it, which is as it is wanted: of thousands of rows half the time."""
    return type_coerce(column, NULLTYPE).label(column.key)


def runs_of_the_kind(
    connection: Connection,
    pipeline: str,
    pipeline_version: str | None,
    without: str,
    limit: int,
    bad: Collection[str] = (),
) -> list[Found]:
    """The latest completed runs of a pipeline and version, except one and those marked bad."""
    asked = {"pipeline": pipeline, "version": pipeline_version, "without": run_key(without)}
    return [Found(*row) for row in connection.execute(_latest(limit, frozenset(bad)), asked)]


@lru_cache(maxsize=16)
def _latest(limit: int, bad: frozenset[str]) -> Select[Any]:
    # Put together once: that takes longer than the answer.
    return (
        select(*(runs.c[name] for name in Found._fields))
        .where(
            runs.c.pipeline == bindparam("pipeline", type_=Text),
            runs.c.pipeline_version.is_not_distinct_from(bindparam("version", type_=Text)),
            runs.c.terminal_status == "completed",
            runs.c.run_key != bindparam("without", type_=Uuid),
            *([not_(marked(bad))] if bad else []),
        )
        .order_by(runs.c.started_at.desc(), runs.c.run_key.desc())
        .limit(limit)
    )


def summarise(rows: Iterable[StepRow]) -> Mapping[str, StepBaseline]:
    """Step name to its baseline, over any number of runs and in any order of the rows."""
    by_name: dict[str, list[StepRow]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    return {name: _step(name, of_name) for name, of_name in sorted(by_name.items())}


def spread(values: Sequence[float]) -> Spread | None:
    """Median and median distance from it; None without values."""
    if not values:
        return None
    middle = median(values)
    return Spread(len(values), middle, median(abs(value - middle) for value in values))


def _step(name: str, rows: Sequence[StepRow]) -> StepBaseline:
    reasons: Counter[str] = Counter()
    with_histogram = [row for row in rows if row.reason_codes and row.reason_counts]
    for row in with_histogram:
        for code, count in zip(row.reason_codes or (), row.reason_counts or (), strict=False):
            reasons[code] += count
    shares: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for field_name, statistics in (row.fields or {}).items():
            share: Any = statistics.get("missing")
            if share is not None:
                shares[field_name].append(share)
    return StepBaseline(
        name=name,
        n=len(rows),
        drop_ratio=spread([row.drop_ratio for row in rows if row.drop_ratio is not None]),
        reasons=dict(reasons),
        reasons_n=len(with_histogram),
        judged=sum(row.candidates_in or 0 for row in with_histogram),
        missing={
            field_name: made
            for field_name, values in sorted(shares.items())
            if (made := spread(values)) is not None
        },
    )
