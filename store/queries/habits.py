"""
What the steps of a run and of its baseline were like, as figures that can be compared.

Metrics of all runs of the baseline; single decisions of the run and of its latest ones only, since
they have to be unpacked.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Row, Uuid, and_, bindparam, cast, func, select

from store import kept
from store.decisions import DecisionColumns, UnknownCodec, unpack
from store.engine import BINARY
from store.ids import run_key
from store.kept import Kept
from store.queries.baseline import BASELINE_RUNS, as_sent, runs_of_the_kind
from store.queries.evidence import Decided, of_run
from store.queries.figures import Figures, Recorded, figures
from store.queries.keys import among, of_keys
from store.schema import decisions, runs, steps

EVIDENCE_RUNS = 40
"""Runs of the baseline whose decisions are looked at."""
EVIDENCE_ITEMS = 100_000
"""Decisions that are unpacked at most, 2 µs each; larger runs are compared with fewer others."""
REMEMBERED_S = 300.0
REMEMBERED_EXECUTIONS = 40_000
"""Executions of steps that are remembered; about 1 kB each."""

_SCORES = ("mean", "std", "p10", "p50", "p90")
_VERDICTS = ("kept", "eliminated", "scored", "selected", "not_selected", "deferred", "merged")
_COLUMNS = (
    *("run_key", "step_id", "attempt_key", "name", "step_type", "status", "candidates_in", "candidates_out"),
    *("reason_codes", "reason_counts", "fields", "sources", "metrics"),
    *_VERDICTS,
    *(f"score_{name}" for name in _SCORES),
)
_STATISTICS = slice(-len(_SCORES), None)
_COUNTS = slice(-len(_SCORES) - len(_VERDICTS), -len(_SCORES))
"""Where these lie in a row."""
StepKey = tuple[UUID, str, str]


class Habits(NamedTuple):
    """By name of the step; of several executions in a run the last."""

    own: Mapping[str, Figures]
    """Of the run that is looked at."""
    baseline: Sequence[Mapping[str, Figures]]
    """Of each other run, the latest first; executions that ended in error are left out."""


class Key(NamedTuple):
    """Where a run lies."""

    run_key: UUID
    run_day: date


NO_HABITS = Habits({}, ())


class Known:
    """
    Figures of runs that were read before, for a while: a baseline hardly changes from one question to the
    next, and reading 200 runs takes ten times as long as comparing them. Safe in several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: OrderedDict[UUID, Remembered] = OrderedDict()
        self._executions = 0

    def get(self, key: UUID, *, evidence: bool) -> dict[str, Figures] | None:
        """The figures of a run; None when they are not known, or too old, or lack what is asked for."""
        with self._lock:
            found = self._runs.get(key)
        if found is None or self._clock() - found.at > REMEMBERED_S or (evidence and not found.evidence):
            return None
        return found.figures

    def put(self, key: UUID, figures: dict[str, Figures], *, evidence: bool) -> None:
        """Remember a run; the longest known ones are forgotten for it."""
        with self._lock:
            before = self._runs.pop(key, None)
            self._runs[key] = Remembered(self._clock(), evidence, figures)
            self._executions += len(figures) - (0 if before is None else len(before.figures))
            while self._executions > REMEMBERED_EXECUTIONS and len(self._runs) > 1:
                _, forgotten = self._runs.popitem(last=False)
                self._executions -= len(forgotten.figures)


class Remembered(NamedTuple):
    """One run in memory."""

    at: float
    evidence: bool
    """Whether its decisions were looked at."""
    figures: dict[str, Figures]


_DAY = Kept(
    select(runs.c.run_key, runs.c.run_day).where(runs.c.run_key == bindparam("asked_run", type_=Uuid))
)
_ITEMS = Kept(
    select(decisions.c.run_key, cast(func.sum(decisions.c.item_count), BigInteger).label("total"))
    .where(among(decisions))
    .group_by(decisions.c.run_key),
    opens_few=True,
)


def habits(
    connection: Connection,
    known: Known,
    run_id: str,
    pipeline: str | None,
    pipeline_version: str | None,
    limit: int = BASELINE_RUNS,
    bad: Collection[str] = (),
) -> Habits:
    """
    The figures of a run and of the latest ``limit`` completed runs of its pipeline and version.

    A pipeline without a name has no baseline. Five statements, all by primary key but that for the runs.
    What is ``known`` of others is not read again. bad: as for ``baseline``.
    """
    if pipeline is None:
        return NO_HABITS
    (found,) = kept.rows(connection, (_DAY, {"asked_run": run_key(run_id)}))
    if not found:
        return NO_HABITS
    own = Key(found[0]["run_key"], found[0]["run_day"])
    latest = runs_of_the_kind(connection, pipeline, pipeline_version, run_id, limit, bad)
    others = [Key(one.run_key, one.run_day) for one in latest]
    opened = {row.run_key for row in affordable(connection, [own, *others[:EVIDENCE_RUNS]])}
    by_run = read_figures(connection, known, others, opened, own)
    return Habits(by_run[own.run_key], [by_run[row.run_key] for row in others])


def read_figures(
    connection: Connection, known: Known, others: Sequence[Key], opened: Set[UUID], own: Key | None = None
) -> dict[UUID, dict[str, Figures]]:
    """
    The figures of runs by name of the step; what is ``known`` of them is not read again.

    opened: runs whose decisions are looked at. own: one more, whose executions that ended in error are
    wanted, too, and that is not remembered.
    """
    by_run: dict[UUID, dict[str, Figures]] = {}
    unread = []
    for row in others:
        remembered = known.get(row.run_key, evidence=row.run_key in opened)
        if remembered is None:
            unread.append(row)
        else:
            by_run[row.run_key] = remembered
    wanted = unread if own is None else [own, *unread]
    by_run |= _read(connection, wanted, opened, None if own is None else own.run_key)
    for row in unread:
        known.put(row.run_key, by_run[row.run_key], evidence=row.run_key in opened)
    return by_run


def _read(
    connection: Connection, unread: Sequence[Key], opened: Set[UUID], own: UUID | None
) -> dict[UUID, dict[str, Figures]]:
    evidence = _evidence(connection, [row for row in unread if row.run_key in opened])
    rows: dict[UUID, list[Row[Any]]] = {row.run_key: [] for row in unread}
    for row in _steps(connection, unread):
        rows[row.run_key].append(row)
    return {key: _of_run(found, evidence, failed=key == own) for key, found in rows.items()}


def _of_run(
    rows: Sequence[Row[Any]], evidence: Mapping[StepKey, Sequence[DecisionColumns]], *, failed: bool
) -> dict[str, Figures]:
    """failed: whether figures of executions that ended in error are wanted."""
    judging = [row for row in rows if row.candidates_in is not None or row.candidates_out is not None]
    parts = [evidence.get((row.run_key, row.step_id, row.attempt_key), ()) for row in judging]
    told = of_run([Decided(row.name, part) for row, part in zip(judging, parts, strict=True)])
    of_row = dict(zip(map(id, judging), told, strict=True))
    found = {}
    for row in rows:
        if failed or row.status == "ok":
            made = figures(_recorded(row))
            made.values.update(of_row.get(id(row), {}))
            # One text for the same name in all runs: the names are most of what is remembered.
            values = {sys.intern(name): value for name, value in made.values.items()}
            found[sys.intern(row.name)] = Figures(made.size, values)
    return found


def _steps(connection: Connection, found: Sequence[Key]) -> Sequence[Row[Any]]:
    """The steps of the runs, as they started."""
    statement = (
        select(*(as_sent(steps.c[name]) for name in _COLUMNS))
        .where(
            and_(
                steps.c.run_key.in_([row.run_key for row in found]),
                # Names the partitions: without it every week would be searched.
                steps.c.run_day.in_(sorted({row.run_day for row in found})),
            )
        )
        .order_by(steps.c.started_at)
    )
    return connection.execute(statement, execution_options=BINARY).all()


def _recorded(row: Row[Any]) -> Recorded:
    return Recorded(
        candidates_in=row.candidates_in,
        candidates_out=row.candidates_out,
        counts=dict(zip(_VERDICTS, row[_COUNTS], strict=True)),
        reasons=dict(zip(row.reason_codes or (), row.reason_counts or (), strict=False)),
        score=dict(zip(_SCORES, row[_STATISTICS], strict=True)),
        fields=row.fields or {},
        sources=row.sources or {},
        metrics=row.metrics or {},
    )


def _evidence(connection: Connection, found: Sequence[Key]) -> dict[StepKey, list[DecisionColumns]]:
    """The decisions of each step of the runs."""
    chunks: defaultdict[StepKey, list[DecisionColumns]] = defaultdict(list)
    if not found:
        return chunks
    statement = (
        select(decisions.c.run_key, decisions.c.step_id, decisions.c.attempt_key, decisions.c.data)
        .where(
            and_(
                decisions.c.run_key.in_([row.run_key for row in found]),
                decisions.c.run_day.in_(sorted({row.run_day for row in found})),
                decisions.c.data.is_not(None),
            )
        )
        .order_by(decisions.c.chunk_index)
    )
    for row in connection.execute(statement):
        try:
            chunks[row.run_key, row.step_id, row.attempt_key].append(unpack(row.data))
        except UnknownCodec:
            continue  # as if it had not been recorded; its step's flag says so
    return chunks


def affordable(connection: Connection, found: Sequence[Key], most: int = EVIDENCE_ITEMS) -> list[Key]:
    """The first of the runs, of which there are some, until they have too many decisions together."""
    (counted,) = kept.rows(connection, (_ITEMS, of_keys(found)))
    items = {row["run_key"]: row["total"] for row in counted}
    chosen, left = [], most
    for row in found:
        left -= items.get(row.run_key, 0)
        if left < 0:
            break
        chosen.append(row)
    return chosen
