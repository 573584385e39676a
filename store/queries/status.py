"""
The status of a run, derived in SQL so that it can be filtered by.

From received events alone (``docs/glossary.md``, run status): the terminal copy's word, unless the run
went to sleep after it; ``waiting`` while it sleeps; ``incomplete`` after its timeout without news;
else ``running``. "Now" and the default timeout are parameters of the statement, so that a test can
hold the clock and all rows of an answer share one instant.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    and_,
    bindparam,
    case,
    exists,
    extract,
    func,
    literal_column,
    or_,
)

from store.queries.derived import Condition, anywhere
from store.rows import FINAL_END
from store.schema import runs, steps

RUN_STATUSES = ("running", "completed", "crashed", "incomplete", "cancelled", "waiting")
STEP_STATUSES = ("running", "ok", "error")

_NOW = bindparam("now", type_=DateTime(timezone=True))
_DEFAULT_TIMEOUT_S = bindparam("default_timeout_s", type_=Double)


def clock(now: datetime, default_timeout_s: float) -> dict[str, Any]:
    """Return the values for the parameters that ``RUN_STATUS`` holds."""
    return {"now": now, "default_timeout_s": default_timeout_s}


def _news_since_wait(within: Condition) -> ColumnElement[bool]:
    # As sent, not as received: a step that was delayed on the way did not wake the run.
    step = steps.alias("step_since_wait")
    woken = exists().where(
        step.c.run_key == runs.c.run_key,
        step.c.run_day == runs.c.run_day,
        within(step),
        or_(step.c.started_at > runs.c.wait_at, step.c.ended_at > runs.c.wait_at),
    )
    return or_(func.coalesce(runs.c.run_started_at > runs.c.wait_at, False), woken)


ENDED: ColumnElement[bool] = and_(
    runs.c.terminal_status.is_not(None),
    or_(
        runs.c.wait_at.is_(None),
        runs.c.ended_at.is_(None),
        runs.c.wait_at <= runs.c.ended_at,
        # An engine that delivers a call again plans its sleep again, and the run has ended all the same.
        runs.c.end_sent_ns >= literal_column(str(FINAL_END), BigInteger),
    ),
)
# In seconds, not as an interval: a timeout of 1e300 s overflows an interval and would fail the query.
_TIMEOUT_S = func.coalesce(runs.c.timeout_s, _DEFAULT_TIMEOUT_S)


def run_status(within: Condition = anywhere) -> ColumnElement[str]:
    """Return the status; it needs ``clock``. within: where the run's steps lie, if it is known."""
    asleep = and_(runs.c.wait_at.is_not(None), ~_news_since_wait(within))
    # greatest() passes over nulls: a wait that named no end is timed from the last news.
    since = case(
        (asleep, func.greatest(runs.c.last_received_at, runs.c.wait_until)), else_=runs.c.last_received_at
    )
    return case(
        (ENDED, runs.c.terminal_status),
        (extract("epoch", _NOW - since) > _TIMEOUT_S, "incomplete"),
        (asleep, "waiting"),
        else_="running",
    )


RUN_STATUS = run_status()
RUN_ENDED_AT: ColumnElement[datetime | None] = case((ENDED, runs.c.ended_at))
"""Null while the run goes on, also when it went on after an end."""
RUN_DURATION_MS: ColumnElement[float | None] = case((ENDED, runs.c.duration_ms))
