"""Two groups of runs by what is true of them, and what their steps recorded, for comparing the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, cast, false, func, not_, select, true
from sqlalchemy.types import Date

from store.queries.derived import RUN_FUNNEL
from store.queries.filters import Filters
from store.queries.language_sql import Question
from store.queries.shown import SHOWN
from store.queries.status import RUN_DURATION_MS, RUN_STATUS, clock
from store.schema import runs, steps

MAX_FOUND = 50_000
"""Runs of a group that are looked at; of more, those with the smallest keys, which are hashes of the ids."""
MAX_STEPS = 1_000
"""Executions of steps of one run that is compared."""


class Member(NamedTuple):
    """A run of a group, and what it can be matched by."""

    run_key: UUID
    run_day: date
    pipeline: str | None
    pipeline_version: str | None
    day: date
    """UTC day on which it started."""


class Groups(NamedTuple):
    """The runs of both groups, by key; a run that is in both is in neither."""

    bad: Sequence[Member]
    good: Sequence[Member]
    bad_found: int
    """Before ``MAX_FOUND``."""
    good_found: int
    in_both: int


class RunFacts(NamedTuple):
    """What a run itself says."""

    run_key: UUID
    pipeline: str | None
    pipeline_version: str | None
    status: str
    outcome: str | None
    service_name: str | None
    environment: str | None
    tags: Mapping[str, str] | None
    duration_ms: float | None


class StepFacts(NamedTuple):
    """What an execution of a step says in numbers and words."""

    run_key: UUID
    name: str
    step_type: str | None
    status: str
    candidates_in: int | None
    candidates_out: int | None
    drop_ratio: float | None
    duration_ms: float | None
    kept: int | None
    eliminated: int | None
    scored: int | None
    selected: int | None
    not_selected: int | None
    deferred: int | None
    merged: int | None
    reason_codes: Sequence[str] | None
    reason_counts: Sequence[int] | None
    score_mean: float | None
    score_std: float | None
    score_p50: float | None
    model: str | None
    config_fingerprint: str | None
    temperature: float | None
    metrics: Mapping[str, float] | None
    fields: Mapping[str, Mapping[str, float | None]] | None


class Facts(NamedTuple):
    """What the compared runs say."""

    bad: Sequence[Member]
    good: Sequence[Member]
    runs: Sequence[RunFacts]
    steps: Sequence[StepFacts]


def find_groups(
    connection: Connection,
    shared: Filters,
    bad: Question,
    good: Question | None,
    *,
    now: datetime,
    default_timeout_s: float,
    limit: int = MAX_FOUND,
) -> Groups:
    """
    Return the runs of which ``shared`` and ``bad`` hold, and those of which ``shared`` and ``good`` do.

    good: None: all that are not bad. Two statements; with ``good`` a third that counts.
    """
    is_bad = _holds(bad)
    is_good = not_(is_bad) if good is None else _holds(good)
    funnel = shared.needs_funnel or bad.needs_funnel or (good is not None and good.needs_funnel)
    clocked = clock(now, default_timeout_s)

    def listed(*clauses: ColumnElement[bool]) -> tuple[list[Member], int]:
        day = cast(func.timezone("UTC", runs.c.started_at), Date)
        columns = (runs.c.run_key, runs.c.run_day, runs.c.pipeline, runs.c.pipeline_version, day)
        statement = select(*columns, func.count().over()).where(*shared.clauses(), SHOWN, *clauses)
        if funnel:
            statement = statement.join_from(runs, RUN_FUNNEL, true())
        rows = connection.execute(statement.order_by(runs.c.run_key).limit(limit), clocked).all()
        return [Member(*row[:-1]) for row in rows], rows[0][-1] if rows else 0

    if good is None:
        return Groups(*_both(listed(is_bad), listed(is_good)), 0)
    found = _both(listed(is_bad, not_(is_good)), listed(is_good, not_(is_bad)))
    both = select(func.count()).select_from(runs).where(*shared.clauses(), SHOWN, is_bad, is_good)
    if funnel:
        both = both.join(RUN_FUNNEL, true())
    return Groups(*found, connection.scalar(both, clocked) or 0)


def facts(
    connection: Connection,
    bad: Sequence[Member],
    good: Sequence[Member],
    most_steps: int,
    *,
    now: datetime,
    default_timeout_s: float,
) -> Facts:
    """
    Return what the runs say; of so many that they have more than ``most_steps`` executions of steps, those
    of each group with the smallest keys. Runs of more than ``MAX_STEPS`` are left out: one of them may have
    more than all others. Three statements by primary key.
    """
    counts = _step_counts(connection, [*bad, *good])
    bad, good = (
        sorted((one for one in group if counts.get(one.run_key, 0) <= MAX_STEPS), key=lambda one: one.run_key)
        for group in (bad, good)
    )
    of_bad, of_good = (sum(counts.get(one.run_key, 0) for one in group) for group in (bad, good))
    if (counted := of_bad + of_good) > most_steps:
        bad = _affordable(bad, counts, of_bad * most_steps // counted)
        good = _affordable(good, counts, of_good * most_steps // counted)
    members = [*bad, *good]
    return Facts(
        bad,
        good,
        run_facts(connection, members, now=now, default_timeout_s=default_timeout_s),
        step_facts(connection, members),
    )


def _both(
    bad: tuple[list[Member], int], good: tuple[list[Member], int]
) -> tuple[list[Member], list[Member], int, int]:
    return bad[0], good[0], bad[1], good[1]


def run_facts(
    connection: Connection, members: Sequence[Member], *, now: datetime, default_timeout_s: float
) -> list[RunFacts]:
    """What the runs say, in the order of their keys."""
    own = [runs.c[name] for name in RunFacts._fields if name not in ("status", "duration_ms")]
    columns: dict[str, ColumnElement[Any]] = {column.name: column for column in own}
    columns |= {"status": RUN_STATUS.label("status"), "duration_ms": RUN_DURATION_MS.label("duration_ms")}
    statement = (
        select(*(columns[name] for name in RunFacts._fields))
        .where(runs.c.run_key.in_([member.run_key for member in members]))
        .order_by(runs.c.run_key)
    )
    return [RunFacts(*row) for row in connection.execute(statement, clock(now, default_timeout_s))]


def _step_counts(connection: Connection, members: Sequence[Member]) -> Mapping[UUID, int]:
    """How many executions of steps the runs have; without those that have none."""
    statement = (
        select(steps.c.run_key, func.count().label("steps")).where(_of(members)).group_by(steps.c.run_key)
    )
    return {row.run_key: row.steps for row in connection.execute(statement)}


def _affordable(members: Sequence[Member], counts: Mapping[UUID, int], most_steps: int) -> Sequence[Member]:
    """The first runs that have at most so many executions together."""
    sums = accumulate(counts.get(member.run_key, 0) for member in members)
    return [member for member, total in zip(members, sums, strict=True) if total <= most_steps]


def step_facts(connection: Connection, members: Sequence[Member]) -> list[StepFacts]:
    """What the steps of the runs say, by run and start."""
    statement = (
        select(*(steps.c[name] for name in StepFacts._fields))
        .where(_of(members))
        .order_by(steps.c.run_key, steps.c.started_at, steps.c.step_id, steps.c.attempt_key)
    )
    return [StepFacts(*row) for row in connection.execute(statement)]


def _of(members: Sequence[Member]) -> ColumnElement[bool]:
    return and_(
        steps.c.run_key.in_([member.run_key for member in members]),
        # Names the partitions: without it every week would be searched.
        steps.c.run_day.in_(sorted({member.run_day for member in members})),
    )


def _holds(question: Question) -> ColumnElement[Any]:
    # A comparison with null counts as false, or NOT would keep the null.
    return func.coalesce(and_(*question.clauses), false())
