"""How often steps gave each reason, by time, version and configuration: what reason drift is read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Select,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    true,
)

from store.queries.conditions import parse_text, parse_time, shown
from store.queries.derived import of_run
from store.queries.errors import InvalidParameter
from store.queries.filters import DEFAULT_LIMIT, parse_limit, unrepeated
from store.schema import runs, steps

PARTS = 6
"""Time buckets of the window."""
MAX_BUCKETS = 2_000
MAX_ROWS = 300_000
"""Of a history; as many take 150 MB."""
DEFAULT_WINDOW = "1d"
DEFAULT_AGAINST = "7d"
DEFAULT_ALARMS = 10.0
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])", re.ASCII)


class DriftQuestion(NamedTuple):
    """What was asked."""

    pipeline: str | None
    """None: all."""
    window: timedelta
    """The latest time, which is looked at …"""
    against: timedelta
    """… and that before it, which it is held against."""
    until: datetime | None
    """End of the window, exclusive; None: now."""
    alarms_per_1000: float
    """Of quiet windows, how many may give an alarm."""
    limit: int


class Kind(NamedTuple):
    """Executions that have the same name and settings."""

    pipeline: str | None
    step: str
    step_type: str | None
    pipeline_version: str | None
    config_fingerprint: str | None
    model: str | None


class Executions(NamedTuple):
    """Executions of one kind in one time bucket that sent a reason histogram."""

    kind: Kind
    bucket: int
    """From 0, the oldest."""
    steps: int
    judged: int
    """Candidates that came in."""


class Given(NamedTuple):
    """How often they gave one reason."""

    kind: Kind
    bucket: int
    reason: str
    candidates: int
    share_sum: float
    """Of the shares of the candidates of each execution …"""
    square_sum: float
    """… and of their squares."""


class History(NamedTuple):
    """All that the detection looks at."""

    start: datetime
    width: timedelta
    """Of a bucket."""
    buckets: int
    """Those before the window; it has ``PARTS`` more."""
    executions: Sequence[Executions]
    given: Sequence[Given]

    def start_of(self, bucket: int) -> datetime:
        """When the bucket begins."""
        return self.start + bucket * self.width


def parse_drift(sent: Iterable[tuple[str, str]]) -> DriftQuestion:
    """Understand the parameters; raises ``InvalidParameter``."""
    given = unrepeated(sent)
    pipeline = given.pop("pipeline", None)
    window = parse_span("window", given.pop("window", DEFAULT_WINDOW))
    against = parse_span("against", given.pop("against", DEFAULT_AGAINST))
    until = given.pop("until", None)
    alarms = _alarms(given.pop("alarms_per_1000", str(DEFAULT_ALARMS)))
    limit = parse_limit(given.pop("limit", str(DEFAULT_LIMIT)))
    for name in given:
        accepted = "pipeline, window, against, until, alarms_per_1000, limit"
        raise InvalidParameter(name, f"{shown(name)} is no parameter of this path, which takes {accepted}")
    if against < 2 * window:
        raise InvalidParameter("against", "against must be at least twice as long as window")
    if against * PARTS > MAX_BUCKETS * window:
        raise InvalidParameter("against", f"against must be at most {MAX_BUCKETS // PARTS} times window")
    return DriftQuestion(
        None if pipeline is None else parse_text("pipeline", pipeline),
        window,
        against,
        None if until is None else parse_time("until", until),
        alarms,
        limit,
    )


def parse_span(parameter: str, text: str) -> timedelta:
    """Return the length of time; raises ``InvalidParameter``."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidParameter(
            parameter, f"{parameter} must be a number with m, h or d, such as 90m or 7d, got {shown(text)}"
        )
    return int(found[1]) * _UNITS[found[2]]


def history(connection: Connection, question: DriftQuestion, *, now: datetime) -> History:
    """
    Return the reasons by bucket, the oldest first.

    Buckets are a part of the window wide and end with it. Two statements over the steps of the runs that
    started in that time: 3 s of processor time for 100,000 runs of six steps. Raises ``InvalidParameter``
    for a time before all times, and where the history is longer than ``MAX_ROWS``.
    """
    until = (question.until or now).astimezone(UTC)
    width = question.window / PARTS
    buckets = question.against // width
    try:
        start = until - (buckets + PARTS) * width
    except OverflowError:
        raise InvalidParameter("until", "until must be later: against begins before the year 1") from None
    binned = func.floor(
        func.extract("epoch", runs.c.started_at - literal(start, DateTime(timezone=True)))
        / literal(width.total_seconds(), Double)
    )
    bucket = cast(binned, BigInteger).label("bucket")
    kind: list[ColumnElement[str | None]] = [
        func.coalesce(steps.c.pipeline, runs.c.pipeline).label("by_pipeline"),
        steps.c.name.label("by_name"),
        steps.c.step_type.label("by_type"),
        func.coalesce(steps.c.pipeline_version, runs.c.pipeline_version).label("by_version"),
        steps.c.config_fingerprint.label("by_fingerprint"),
        steps.c.model.label("by_model"),
    ]

    def asked(statement: Any) -> Select[Any]:
        limited: Select[Any] = statement.where(
            runs.c.started_at >= literal(start, DateTime(timezone=True)),
            runs.c.started_at < literal(until, DateTime(timezone=True)),
            steps.c.status == "ok",
            steps.c.candidates_in > 0,
            steps.c.reason_codes.is_not(None),
        )
        return limited if question.pipeline is None else limited.where(runs.c.pipeline == question.pipeline)

    joined = runs.join(steps, of_run(steps, runs))
    counted = asked(
        select(*kind, bucket, func.count(), cast(func.sum(steps.c.candidates_in), BigInteger))
        .select_from(joined)
        .group_by(*kind, bucket)
    )
    given = func.unnest(steps.c.reason_codes, steps.c.reason_counts).table_valued(
        column("code", Text), column("times", BigInteger), name="given"
    )
    given = given.render_derived()
    share = cast(given.c.times, Double) / cast(steps.c.candidates_in, Double)
    reasons = asked(
        select(
            *kind,
            bucket,
            given.c.code,
            cast(func.sum(given.c.times), BigInteger),
            func.sum(share),
            func.sum(share * share),
        )
        .select_from(joined.join(given, true()))
        .group_by(*kind, bucket, given.c.code)
    )
    return History(
        start,
        width,
        buckets,
        [Executions(Kind(*row[:6]), *row[6:]) for row in _bounded(connection, counted, question)],
        [Given(Kind(*row[:6]), *row[6:]) for row in _bounded(connection, reasons, question)],
    )


def _bounded(connection: Connection, statement: Select[Any], question: DriftQuestion) -> Sequence[Any]:
    """The rows; raises ``InvalidParameter`` for too many, as of a configuration that each run has anew."""
    found = connection.execute(statement.limit(MAX_ROWS + 1)).all()
    if len(found) > MAX_ROWS:
        raise InvalidParameter(
            "against" if question.pipeline else "pipeline",
            f"{'against must be shorter' if question.pipeline else 'pipeline is required'}: there are more "
            f"than {MAX_ROWS} combinations of reason, version, configuration, model and time",
        )
    return found


def _alarms(text: str) -> float:
    try:
        alarms = float(text)
    except ValueError:
        alarms = 0.0
    if not 0 < alarms <= 500:
        raise InvalidParameter(
            "alarms_per_1000", f"alarms_per_1000 must be a number above 0 and at most 500, got {shown(text)}"
        )
    return alarms
