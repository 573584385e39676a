"""The completed runs of a pipeline since a time, and those before it, as figures that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, not_, select

from store.queries import bounds
from store.queries.conditions import parse_text, parse_time, shown
from store.queries.errors import InvalidParameter
from store.queries.figures import Figures
from store.queries.filters import unrepeated
from store.queries.habits import Key, Known, affordable, read_figures
from store.queries.outcome_terms import marked
from store.schema import runs

MAX_RUNS = 200
"""Of each side, the latest."""
POOL_ITEMS = 200_000
"""Decisions of each side that are unpacked at most, 2 µs each; of further runs only metrics are compared."""
ACCEPTED = ("since", "until", "version")


class PoolQuestion(NamedTuple):
    """What was asked."""

    pipeline: str
    since: datetime
    """Start of the runs that are looked at; those before it say what is usual."""
    until: datetime | None
    """End of them, exclusive; None: open."""
    version: str | None
    """Of both sides; None: all."""


class Found(NamedTuple):
    """Where a run lies, and which it is."""

    run_key: UUID
    run_day: date
    run_id: str
    started_at: datetime


class PoolRun(NamedTuple):
    """One run of a pool."""

    run_id: str
    started_at: datetime
    figures: Mapping[str, Figures]
    """By name of the step; executions that ended in error are left out."""


class Pool(NamedTuple):
    """Both sides, each with the latest first."""

    since: Sequence[PoolRun]
    before: Sequence[PoolRun]


def parse_pool(pipeline: str, sent: Iterable[tuple[str, str]]) -> PoolQuestion:
    """Understand the parameters; raises ``InvalidParameter``."""
    given = unrepeated(sent)
    for name in given:
        if name not in ACCEPTED:
            takes = ", ".join(ACCEPTED)
            raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes {takes}")
    if "since" not in given:
        raise InvalidParameter("since", "since must be the RFC 3339 time of the change")
    since = parse_time("since", given["since"])
    until = parse_time("until", given["until"]) if "until" in given else None
    if until is not None and until <= since:
        raise InvalidParameter("until", "until must be after since")
    version = parse_text("version", given["version"]) if "version" in given else None
    return PoolQuestion(parse_text("pipeline", pipeline), since, until, version)


def pool(connection: Connection, known: Known, question: PoolQuestion, bad: Collection[str] = ()) -> Pool:
    """
    The latest ``MAX_RUNS`` completed runs since the time, and as many of those before it.

    Each side is found by ``ix_runs_pipeline_started`` read backwards, its steps and decisions by primary key.
    bad: names of late outcomes that keep a run out of those before.
    """
    after = [runs.c.started_at >= question.since]
    if question.until is not None:
        after.append(runs.c.started_at < question.until)
    days = bounds.Window(question.since.date(), None if question.until is None else question.until.date())
    after += bounds.run_days(connection, runs, "runs", days)
    earlier: list[ColumnElement[bool]] = [runs.c.started_at < question.since]
    earlier += bounds.run_days(connection, runs, "runs", bounds.Window(None, question.since.date()))
    earlier += [not_(marked(bad))] if bad else []
    sides = [_found(connection, question, condition) for condition in (after, earlier)]
    return Pool(*(_with_figures(connection, known, side) for side in sides))


def _found(
    connection: Connection, question: PoolQuestion, conditions: Sequence[ColumnElement[bool]]
) -> list[Found]:
    of_version = [] if question.version is None else [runs.c.pipeline_version == question.version]
    statement = (
        select(runs.c.run_key, runs.c.run_day, runs.c.run_id, runs.c.started_at)
        .where(
            and_(
                runs.c.pipeline == question.pipeline,
                runs.c.terminal_status == "completed",
                *conditions,
                *of_version,
            )
        )
        .order_by(runs.c.started_at.desc(), runs.c.run_key.desc())
        .limit(MAX_RUNS)
    )
    return [Found(*row) for row in connection.execute(statement)]


def _with_figures(connection: Connection, known: Known, found: Sequence[Found]) -> list[PoolRun]:
    if not found:
        return []
    keys = [Key(row.run_key, row.run_day) for row in found]
    opened = {key.run_key for key in affordable(connection, keys, POOL_ITEMS)}
    figures = read_figures(connection, known, keys, opened)
    return [PoolRun(row.run_id, row.started_at, figures[row.run_key]) for row in found]
