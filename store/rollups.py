"""
Hourly roll-ups of steps: recomputed from them, never added to, so that they are exact (decision 0034).

``rollup_marks`` says which hours are out of date. One transaction deletes the marks of an hour that it
sees, and only then counts the steps: so it counts all that those marks stand for. A writer that it
did not see leaves a mark that it did not see either, and that stays. Two that count the same
hour wait for each other at a mark: the later one sees the mark that the earlier one deletes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from time import monotonic
from typing import Any, NamedTuple

import psycopg
from psycopg import errors, sql

from store.histograms import histogram_sql
from store.partitions import partition_name
from store.rollup_marks import HOUR_OF_STARTED_AT
from store.schema_rollups import GROUPED_BY, VALUES, step_hours
from store.upkeep import Task

INTERVAL_S = 5.0
_TURN_S = 30.0
"""How long a turn takes at most, an hour that is begun aside; what is left is for the next one."""
_REST = 50
"""An hour that changes all the time is counted again after as many times as long as it took: it is read
from the steps anyway, and must not take more than 2 % of a processor."""
_REST_S = 10.0
"""… and not before this."""

_WORK_MEM = "SET LOCAL work_mem = '64MB'"

_ATTACHED = """
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'steps'::regclass AND NOT i.inhdetachpending
"""
WEEKS = f"({_ATTACHED})"
"""Subquery of the weeks of which there are steps. The roll-ups of others are as they are, marks or not."""

RUN_MARKS = f"""
SELECT DISTINCT m.week, {HOUR_OF_STARTED_AT} AS hour FROM rollup_marks m
JOIN steps s ON s.run_key = m.run_key AND s.run_day >= m.week AND s.run_day < m.week + 7
WHERE m.hour IS NULL AND (s.pipeline IS NULL OR s.pipeline_version IS NULL)
"""  # noqa: S608 - of constants
"""The hours that marks of runs are about: with the steps that are there when it is asked."""

_TIDY = f"""
WITH seen AS (SELECT week, hour FROM rollup_marks WHERE hour IS NOT NULL UNION {RUN_MARKS}),
gone AS (DELETE FROM rollup_marks)
INSERT INTO rollup_marks (week, hour) SELECT week, hour FROM seen WHERE week IN {WEEKS}
"""  # noqa: S608 - of constants
_UNTIDY = "SELECT count(*) > count(DISTINCT (week, hour)) OR count(run_key) > 0 FROM rollup_marks"
_MARKED = "SELECT DISTINCT week, hour FROM rollup_marks WHERE hour IS NOT NULL ORDER BY hour DESC, week DESC"

_UNMARK = "DELETE FROM rollup_marks WHERE week = %(week)s AND hour = %(hour)s"
_CLEAR = "DELETE FROM step_hours WHERE week = %(week)s AND hour = %(hour)s"


def _figures_of(name: str) -> str:
    """The distribution of one value."""
    total = f"{name}::numeric" if name == "score_mean" else name
    histogram = histogram_sql(name, share=name == "drop_ratio")
    return f"count({name}), sum({total}), min({name}), max({name}), sum({histogram})"


# A step that has no name of its pipeline takes the run's: looked up for those alone.
_COUNT = f"""
WITH picked AS MATERIALIZED (
    SELECT *, dense_rank() OVER (
        ORDER BY {", ".join(f'{name} COLLATE "C"' for name in GROUPED_BY)})::integer AS place
    FROM (
        SELECT coalesce(s.pipeline, (SELECT r.pipeline FROM runs r WHERE r.run_key = s.run_key)) AS pipeline,
            coalesce(s.pipeline_version, (SELECT r.pipeline_version FROM runs r WHERE r.run_key = s.run_key))
                AS pipeline_version,
            s.name, s.step_type, s.status, s.error_type, s.candidates_in, s.candidates_out,
            {", ".join(f"s.{name}" for name in VALUES)}, s.reason_codes, s.reason_counts
        FROM steps s
        WHERE s.started_at >= %(hour)s AND s.started_at < %(hour)s + interval '1 hour'
            AND s.run_day >= %(week)s AND s.run_day < %(week)s + 7
    ) AS named
),
summed AS (
    SELECT place, {", ".join(f"min({name})" for name in GROUPED_BY)}, count(*),
        sum(candidates_in), sum(candidates_out), {", ".join(_figures_of(name) for name in VALUES)}
    FROM picked GROUP BY place
),
reasons AS (
    SELECT place, array_agg(code ORDER BY code) AS codes, array_agg(times ORDER BY code) AS counts
    FROM (SELECT place, code, coalesce(sum(times), 0) AS times
          FROM picked, unnest(reason_codes, reason_counts) AS given (code, times) GROUP BY 1, 2) AS counted
    GROUP BY place
)
INSERT INTO step_hours ({", ".join(column.name for column in step_hours.columns)})
SELECT %(hour)s, %(week)s, summed.*, reasons.codes, reasons.counts FROM summed LEFT JOIN reasons USING (place)
"""  # noqa: S608 - of constants


class Marked(NamedTuple):
    """An hour of a week that is out of date."""

    week: date
    hour: datetime


class Rollups:
    """The work of one process: what it counted, and how long that took."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rests: dict[Marked, float] = {}
        """Until when an hour that was counted is left alone."""

    def turn(self, connection: psycopg.Connection[Any], before: date = date.max) -> None:
        """
        Bring hours up to date that have marks, the latest first; the connection is in autocommit.

        before: only of earlier weeks. Raises what was wrong with an hour after the others were counted.
        """
        began = self._clock()
        self._rests = {marked: until for marked, until in self._rests.items() if until > began}
        failed: psycopg.Error | None = None
        for marked in tidy(connection):
            if marked.week < before and marked not in self._rests:
                try:
                    self._count(connection, marked)
                except psycopg.DataError as error:
                    failed = error
            if self._clock() - began > _TURN_S:
                break
        if failed is not None:
            raise failed

    def _count(self, connection: psycopg.Connection[Any], marked: Marked) -> None:
        began = self._clock()
        try:
            recount(connection, marked)
        finally:  # what took too long is not tried again at once, before all others
            ended = self._clock()
            self._rests[marked] = ended + max(_REST_S, _REST * (ended - began))


def task() -> Task:
    """What upkeep runs."""
    return Task("rollups", INTERVAL_S, Rollups().turn)


def tidy(connection: psycopg.Connection[Any]) -> list[Marked]:
    """Put one mark in the place of all of an hour, and of a run's those of its hours; return the hours."""
    (untidy,) = _one(connection.execute(_UNTIDY))
    if untidy:
        connection.execute(_TIDY)
    return [Marked(*row) for row in connection.execute(_MARKED)]


def recount(connection: psycopg.Connection[Any], marked: Marked) -> None:
    """Count the steps of an hour, in a transaction or savepoint of its own, if it is marked."""
    values = marked._asdict()
    with connection.transaction():
        there = _hold(connection, marked.week)
        if connection.execute(_UNMARK, values).rowcount and there:
            connection.execute(_WORK_MEM)
            connection.execute(_CLEAR, values)
            connection.execute(_COUNT, values)


def _hold(connection: psycopg.Connection[Any], week: date) -> bool:
    """Keep a week's steps from being dropped until the transaction ends; return whether there are any."""
    partition = sql.Identifier(partition_name("steps", week))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(partition))
    except errors.UndefinedTable:
        return False
    (attached,) = _one(connection.execute(f"SELECT %s IN {WEEKS}", [week]))
    return bool(attached)


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    assert row is not None  # of statements that always give one
    return row
