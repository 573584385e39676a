"""How steps are put together before they are counted, and the pages of such groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Interval,
    RowMapping,
    Select,
    Subquery,
    Text,
    func,
    literal,
    select,
)

from store.queries.conditions import shown
from store.queries.cursor import Cursors, SortKey, after
from store.queries.errors import InvalidParameter
from store.queries.filters import Filters, PageRequest, parse, unrepeated
from store.queries.types import ListCompleteness
from store.queries.vocabulary import STEPS

GROUP_BY = ("pipeline", "name", "step_type", "pipeline_version", "status", "error_type")
BUCKETS = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
}
PERCENTILES = (0.5, 0.9, 0.95, 0.99)
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How steps are put together before they are counted."""

    group_by: tuple[str, ...] = ()
    """Words of ``GROUP_BY``; none = one group of all."""
    bucket: str | None = None
    """A word of ``BUCKETS``; None = the whole time. Buckets begin at whole multiples, in UTC."""

    @property
    def names(self) -> list[str]:
        """The labels of the columns that tell groups apart."""
        return [f"by_{name}" for name in self.group_by] + (["bucket_start"] if self.bucket else [])

    def columns(
        self, fields: Mapping[str, ColumnElement[Any]], at: ColumnElement[Any]
    ) -> list[ColumnElement[Any]]:
        """Those columns; fields: by the words of ``GROUP_BY``; at: the time that buckets go by."""
        columns: list[ColumnElement[Any]] = [fields[name].label(f"by_{name}") for name in self.group_by]
        if self.bucket is not None:
            width = literal(BUCKETS[self.bucket], Interval)
            instant = DateTime(timezone=True)
            start = func.date_bin(width, at, literal(_ORIGIN, instant), type_=instant)
            columns.append(start.label("bucket_start"))
        return columns

    def order(self, rows: Subquery) -> list[SortKey]:
        """Newest bucket first, then by group; without nulls."""
        order = []
        if self.bucket is not None:
            order.append(SortKey(rows.c.bucket_start, descending=True))
        for name in self.group_by:
            # A mark before the text, so that a missing value and an empty one differ.
            marked = func.coalesce(literal("=", Text) + rows.c[f"by_{name}"], "", type_=Text())
            order.append(SortKey(marked))
        return order

    def group(self, row: RowMapping) -> dict[str, str | None]:
        """The values of ``group_by``."""
        return {name: row[f"by_{name}"] for name in self.group_by}

    def bucket_start(self, row: RowMapping) -> datetime | None:
        """None when no buckets were asked for."""
        return None if self.bucket is None else row["bucket_start"]


def step_fields() -> dict[str, ColumnElement[Any]]:
    """The words of ``GROUP_BY`` of a step that is joined with its run."""
    fields = {field.name: field.expression for field in STEPS.fields if field.name in GROUP_BY}
    return {name: expression for name, expression in fields.items() if expression is not None}


def parse_grouped(sent: Iterable[tuple[str, str]]) -> tuple[Filters, Grouping, PageRequest]:
    """Understand the parameters of a metrics list; raises ``InvalidParameter``."""
    given = unrepeated(sent)
    words = tuple(given.pop("group_by").split(",")) if "group_by" in given else ()
    if len(set(words)) < len(words) or not set(words) <= set(GROUP_BY):
        raise InvalidParameter(
            "group_by",
            f"group_by must be some of {', '.join(GROUP_BY)}, separated by commas, "
            f"got {shown(','.join(words))}",
        )
    bucket = given.pop("bucket", None)
    if bucket is not None and bucket not in BUCKETS:
        raise InvalidParameter("bucket", f"bucket must be one of {', '.join(BUCKETS)}, got {shown(bucket)}")
    filters, page = parse(STEPS, given.items())
    return filters, Grouping(words, bucket), page


def page_of(
    connection: Connection,
    cursors: Cursors,
    question: str,
    source: Subquery,
    keys: Sequence[SortKey],
    page: PageRequest,
) -> tuple[Sequence[RowMapping], str | None]:
    """Return the page's rows and the cursor after them; question: as ``Filters.identity`` gives it."""
    statement: Select[Any] = select(
        source, *(key.expression.label(f"key_{i}") for i, key in enumerate(keys))
    ).order_by(*(key.ordered() for key in keys))
    if page.cursor is not None:
        statement = statement.where(after(keys, cursors.decode(question, page.cursor)))
    rows = connection.execute(statement.limit(page.limit + 1)).mappings().all()
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    return rows[: page.limit], cursors.encode(question, [last[f"key_{i}"] for i in range(len(keys))])


def total(value: Decimal | None) -> int | None:
    """Sums of bigint come as numeric, so that they cannot overflow in the database."""
    return None if value is None else int(value)


def completeness(rows: Sequence[RowMapping]) -> ListCompleteness:
    """Of rows that count in ``running`` the steps whose end has not arrived."""
    running = sum(int(row["running"]) for row in rows)
    return ListCompleteness("partial" if running else "exact", running)
