"""What a rule asks, answered from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from api.alerts.declared import AlertRule, OfReason, OfRuns, OfSteps
from api.contracts.judging import Bounds, judge
from store.queries.filters import Filters, PageRequest, parse
from store.queries.metrics import Grouping
from store.queries.types import Page
from store.queries.types_metrics import MetricsPage, StepMetrics
from store.queries.vocabulary import RUNS, STEPS
from store.reader import Reader

MAX_GROUPS = 1000
_PAGE = 1000
_HOLDS: Mapping[str, bool] = {"held": True, "violated": False}


@dataclass(frozen=True, slots=True)
class Reading:
    """One group of a rule, as it is now."""

    group: Mapping[str, str | None]
    value: float | None
    n: int
    holds: bool | None
    """Whether the rule's comparison is true; None when it cannot be told."""

    @property
    def key(self) -> str:
        """The group as text, the same however it is written."""
        return group_key(self.group)


class ContractStates(Protocol):
    """Who knows what the last check of a contract found."""

    def __call__(self, contract_id: str, at: datetime) -> str | None:
        """Return held, violated or unknown; None when it was not checked."""
        ...


def group_key(group: Mapping[str, str | None]) -> str:
    """Return JSON text with sorted keys."""
    return orjson.dumps(dict(group), option=orjson.OPT_SORT_KEYS).decode()


def ask(reader: Reader, states: ContractStates, rule: AlertRule, now: datetime) -> list[Reading]:
    """Return the groups of a rule, of what started in the window before ``now``."""
    if rule.steps is not None:
        return list(_steps(reader, rule, rule.steps, now))
    if rule.reason is not None:
        return list(_reason(reader, rule, rule.reason, now))
    if rule.runs is not None:
        return [_runs(reader, rule, rule.runs, now)]
    assert rule.contract is not None  # one of them is given
    state = states(rule.contract.id, now)
    value = {"violated": 1.0, "held": 0.0}.get(state or "")
    return [Reading({}, value, 1, None if value is None else value == 1.0)]


def _steps(reader: Reader, rule: AlertRule, asked: OfSteps, now: datetime) -> Iterator[Reading]:
    cursor, seen = None, 0
    while seen < MAX_GROUPS:
        page = reader.step_metrics(
            _filters(rule, asked.where, now),
            Grouping(asked.group_by),
            PageRequest(limit=_PAGE, cursor=cursor),
        )
        for metrics in page.items:
            value = _figure(metrics, str(asked.figure))
            bounds = None if value is None else _bounds(value, str(asked.figure), page)
            yield _reading(rule, metrics.group, value, metrics.steps, bounds)
        seen, cursor = seen + len(page.items), page.next_cursor
        if cursor is None:
            return


def _figure(metrics: StepMetrics, figure: str) -> float | None:
    if figure == "error_share":
        return metrics.errors / metrics.steps if metrics.steps else None
    field, _, statistic = figure.partition(".")
    found: Any = getattr(metrics, field)
    value = getattr(found, statistic) if statistic else found
    return None if value is None else float(value)


def _bounds(value: float, figure: str, page: Page[StepMetrics]) -> Bounds:
    field, _, statistic = figure.partition(".")
    resolution = page.resolution if isinstance(page, MetricsPage) else None
    if resolution is None or statistic in ("", "mean"):
        return Bounds(value, value)
    part: float = getattr(resolution, field)
    reach = part if field == "drop_ratio" else abs(value) * part
    return Bounds(value - reach, value + reach)


def _reason(reader: Reader, rule: AlertRule, asked: OfReason, now: datetime) -> Iterator[Reading]:
    """Groups in which the reason was not given have 0 of it, as long as others were."""
    filters, grouping = _filters(rule, asked.where, now), Grouping(asked.group_by)
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    groups: dict[str, Mapping[str, str | None]] = {}
    cursor = None
    while True:
        page = reader.reason_metrics(filters, grouping, PageRequest(limit=_PAGE, cursor=cursor))
        for item in page.items:
            key = group_key(item.group)
            groups[key] = item.group
            totals[key] = totals.get(key, 0) + item.count
            if item.reason == asked.reason:
                counts[key] = item.count
        cursor = page.next_cursor
        if cursor is None or len(groups) > MAX_GROUPS:
            break
    for key, group in list(groups.items())[:MAX_GROUPS]:
        count, total = counts.get(key, 0), totals[key]
        value = float(count) if asked.figure == "count" else count / total if total else None
        yield _reading(rule, group, value, total, None if value is None else Bounds(value, value))


def _runs(reader: Reader, rule: AlertRule, asked: OfRuns, now: datetime) -> Reading:
    among = [("q", asked.among)] if asked.among else []
    scope, _ = parse(RUNS, [*_window(rule, now), *among])
    found = reader.share_of_runs(scope, parse(RUNS, [("q", asked.where)])[0])
    if asked.figure == "count":
        # Of a count 0 is a figure, too: min_n is no question here.
        sign, limit = rule.limit
        state = judge(sign, limit, Bounds(found.matching, found.matching + found.unsure))
        return Reading({}, float(found.matching), found.runs, _HOLDS.get(state))
    if not found.runs:
        return Reading({}, None, 0, None)
    low, high = found.matching / found.runs, (found.matching + found.unsure) / found.runs
    return _reading(rule, {}, low, found.runs, Bounds(low, high))


def _reading(
    rule: AlertRule, group: Mapping[str, str | None], value: float | None, n: int, bounds: Bounds | None
) -> Reading:
    sign, limit = rule.limit
    state = judge(sign, limit, bounds) if n >= rule.min_n else "unknown"
    return Reading(group, value, n, _HOLDS.get(state))


def _filters(rule: AlertRule, where: str | None, now: datetime) -> Filters:
    question = [("q", where)] if where else []
    return parse(STEPS, [*_window(rule, now), *question])[0]


def _window(rule: AlertRule, now: datetime) -> list[tuple[str, str]]:
    after = now - rule.window
    return [("started_after", after.isoformat()), ("started_before", now.isoformat())]
