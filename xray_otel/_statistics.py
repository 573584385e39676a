"""Exact statistics of scores and of the items' fields."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, NamedTuple

from xray_otel import _mask
from xray_otel._encode import named_text, text_of
from xray_otel._figures import number
from xray_otel._frames import is_frame, listed
from xray_otel._text import NAME_BYTES

MAX_ITEMS = 2_000_000
"""Of one call; a mistaken iterable may be endless."""


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


def summarize_fields(
    items: Any, names: Sequence[str], source: str | None = None
) -> tuple[list[FieldSummary], dict[Any, int]]:
    """
    One summary per name, in the order of ``names``, and how many items there are of each ``source``.

    items: mappings or objects, or a frame or table of pandas, polars or Arrow; each is asked once
    per name. Nothing raises: a field that cannot be read counts as missing. Of what is no list and
    no frame the first ``MAX_ITEMS`` are read.
    """
    found = items if is_frame(items) or isinstance(items, list) else list(islice(items, MAX_ITEMS))
    columns = {name: _values(found, name) for name in dict.fromkeys((*names, source)) if name is not None}
    sources: dict[Any, int] = {}
    if source is not None:
        sources = Counter(
            named_text(source, value, NAME_BYTES) for value in columns[source] if not _is_missing(value)
        )
    return [_summary(text_of(name, NAME_BYTES), columns[name]) for name in names], sources


def _values(items: Any, name: str) -> list[Any]:
    """The field of all items, None where it cannot be read."""
    if not isinstance(items, list):
        return _of_frame(items, name)
    try:
        # All at once in C. Not of other mappings, some of which make the entry that is asked for.
        kinds = set(map(type, items))
        if kinds == {dict}:
            return list(map(itemgetter(name), items))
        if not any(issubclass(kind, Mapping) for kind in kinds):
            return list(map(attrgetter(name), items))
    except Exception:  # noqa: BLE001 - the host's item may do anything when it is asked
        pass
    return [_value(item, name) for item in items]


def _of_frame(frame: Any, name: str) -> list[Any]:
    try:
        return list(listed(frame[name]))
    except Exception:  # noqa: BLE001 - a column that is not there, or what its library does
        pass
    return [None] * len(frame)


def _value(item: Any, name: str) -> Any:
    try:
        return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
    except Exception:  # noqa: BLE001 - the host's item may do anything when it is asked
        return None


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value == "") or bool(value != value)
    except Exception:  # noqa: BLE001 - as pandas' own missing value does, which is none of either
        return True


def _summary(label: str, values: list[Any]) -> FieldSummary:
    kinds = set(map(type, values))
    if kinds <= {float, int, NoneType}:
        present = [value for value in values if value is not None] if NoneType in kinds else values
        numbers = [value for value in present if value == value] if float in kinds else present  # no NaN
        missing = len(values) - len(numbers)
        try:
            numbers = list(map(float, numbers))
        except OverflowError:
            numbers = [figure for value in numbers if (figure := number(value)) is not None]
    else:
        present = [value for value in values if not _is_missing(value)]
        missing = len(values) - len(present)
        found = [number(value) for value in present if not isinstance(value, str | bool)]
        numbers = [figure for figure in found if figure is not None]
    # Of one item the mean is its value, so no figures of a field that is hidden.
    summary = None if _mask.current.hides(label) else summarize(numbers)
    share = missing / len(values) if values else 0.0
    if summary is None:
        return FieldSummary(label, share, None, None, None)
    return FieldSummary(label, share, summary.mean, summary.std, summary.p50)
