"""
Keyset pages: where a page ended, as an opaque signed text, and the condition that continues there.

A cursor holds the sort key of the last row shown, so a page is stable under inserts and as cheap as
the first one. It is signed together with the question that it belongs to: a changed one, or one that
is used with other filters, is refused instead of answering something that nobody asked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, DateTime, Numeric, Uuid, and_, bindparam, literal, or_, tuple_

from store.queries.errors import InvalidParameter

_TAG_BYTES = 16
MAX_CURSOR_CHARS = 16_384
"""The longest names, of characters that JSON writes as six, need about 11,000."""


@dataclass(frozen=True, slots=True)
class Cursors:
    """Signs and checks cursors with one key; all API processes of a database share it."""

    key: bytes

    def encode(self, question: str, position: Sequence[Any]) -> str:
        """
        Return a cursor that continues ``question`` after ``position``.

        question: canonical text of the query and its filters. position: values of the sort key that
        JSON knows; datetimes become RFC 3339 texts, and decimals texts.
        """
        payload = orjson.dumps(list(position), default=_decimal_text)
        return base64.urlsafe_b64encode(self._tag(question, payload) + payload).rstrip(b"=").decode()

    def decode(self, question: str, cursor: str) -> list[Any]:
        """Return the position; raises ``InvalidParameter`` unless we signed it for this question."""
        try:
            # A longer one is none of ours, and need not be decoded to know it.
            padded = cursor[:MAX_CURSOR_CHARS].encode("ascii") + b"=" * (-len(cursor) % 4)
            raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise _refused() from None
        tag, payload = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(question, payload)):
            raise _refused()
        position: list[Any] = orjson.loads(payload)
        return position

    def _tag(self, question: str, payload: bytes) -> bytes:
        asked = hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()
        return hmac.digest(self.key, asked + payload, "sha256")[:_TAG_BYTES]


def _decimal_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no cursor can hold {value!r}")


def _refused() -> InvalidParameter:
    return InvalidParameter(
        "cursor", "cursor must be the next_cursor of an answer to the same query with the same filters"
    )


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column of an order that no two rows share."""

    expression: ColumnElement[Any]
    """Never null: comparisons with null would skip rows."""
    descending: bool = False

    def ordered(self) -> ColumnElement[Any]:
        """Return the term of ORDER BY."""
        return self.expression.desc() if self.descending else self.expression.asc()


def after(keys: Sequence[SortKey], position: Sequence[Any], *, named: bool = False) -> ColumnElement[bool]:
    """
    Return the condition that holds for the rows behind ``position`` in the order of ``keys``.

    named: its parameters have no values, but the names that ``given_position`` gives.
    """
    pairs = zip(keys, given_position(keys, position).items(), strict=True)
    bound: list[ColumnElement[Any]] = [
        bindparam(name, type_=key.expression.type) if named else literal(value, key.expression.type)
        for key, (name, value) in pairs
    ]
    if len({key.descending for key in keys}) == 1:
        # A row comparison: the planner can start an index scan there, which it cannot with ORs.
        left, right = tuple_(*(key.expression for key in keys)), tuple_(*bound)
        return left < right if keys[0].descending else left > right
    branches = []
    for i, (key, value) in enumerate(zip(keys, bound, strict=True)):
        same = [keys[j].expression == bound[j] for j in range(i)]
        behind = key.expression < value if key.descending else key.expression > value
        branches.append(and_(*same, behind))
    # Implied by the rest; stated because an index scan can start there.
    first, value = keys[0].expression, bound[0]
    return and_(first <= value if keys[0].descending else first >= value, or_(*branches))


def given_position(keys: Sequence[SortKey], position: Sequence[Any]) -> dict[str, Any]:
    """Return the values of the parameters of ``after``, in the order of ``keys``."""
    pairs = zip(keys, position, strict=True)
    return {f"after_{n}": _given(key.expression, value) for n, (key, value) in enumerate(pairs)}


def _given(expression: ColumnElement[Any], value: Any) -> Any:
    if isinstance(expression.type, DateTime):
        return datetime.fromisoformat(value)
    if isinstance(expression.type, Uuid):
        return UUID(value)
    return Decimal(value) if isinstance(expression.type, Numeric) else value
