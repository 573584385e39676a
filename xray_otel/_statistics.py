"""Exact statistics of scores and of the items' fields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xray_otel._encode import NAME_BYTES, number, text_of


class ScoreSummary(NamedTuple):
    """Of finite scores; ``std`` is the population's, percentiles interpolate linearly."""

    min: float
    max: float
    mean: float
    std: float
    p10: float
    p50: float
    p90: float


class FieldSummary(NamedTuple):
    """Of one field over all items; the last three are of its numeric values, None without any."""

    name: str
    missing: float
    """Share of items that lack it, 0 to 1: absent, None, NaN or an empty string."""
    mean: float | None
    std: float | None
    p50: float | None


def summarize(values: Sequence[float]) -> ScoreSummary | None:
    """The summary of the finite ones among ``values``; None when there is none."""
    total = sum(values)
    if not math.isfinite(total):
        values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    ordered = sorted(values)
    count = len(ordered)
    try:
        mean = math.fsum(ordered) / count
    except OverflowError:
        mean = math.fsum(value / count for value in ordered)
    # math.dist is the sum of squared differences in C, without cancellation or overflow.
    std = math.dist(ordered, [mean] * count) / math.sqrt(count)
    return ScoreSummary(
        ordered[0],
        ordered[-1],
        mean,
        std,
        _percentile(ordered, 0.1),
        _percentile(ordered, 0.5),
        _percentile(ordered, 0.9),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    position = (len(ordered) - 1) * share
    low = int(position)
    if low + 1 == len(ordered):
        return ordered[low]
    weight = position - low
    return ordered[low] * (1 - weight) + ordered[low + 1] * weight


def summarize_fields(items: Iterable[Any], names: Sequence[str]) -> list[FieldSummary]:
    """
    One summary per name, in the order of ``names``.

    items: mappings or objects; each is asked once per name. Nothing raises: a field that
    cannot be read counts as missing.
    """
    found = list(items)
    return [_field(found, text_of(name, NAME_BYTES), name) for name in names]


def _field(items: Sequence[Any], label: str, name: str) -> FieldSummary:
    missing = 0
    numbers: list[float] = []
    for item in items:
        try:
            value = item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
            absent = value is None or value == "" or bool(value != value)
        except Exception:  # noqa: BLE001 - the host's item may do anything when it is asked
            absent, value = True, None
        if absent:
            missing += 1
        elif not isinstance(value, str | bool):
            figure = number(value)
            if figure is not None:
                numbers.append(figure)
    summary = summarize(numbers)
    share = missing / len(items) if items else 0.0
    if summary is None:
        return FieldSummary(label, share, None, None, None)
    return FieldSummary(label, share, summary.mean, summary.std, summary.p50)
