"""What becomes known of a run after it ended: a bad match, a click, a refund, somebody's verdict."""

from __future__ import annotations

import datetime
import time as clock
from typing import Any

from xray_otel import _mask, _setup, semconv
from xray_otel._buffer import Event, Priority
from xray_otel._encode import named_text, scalar, shown, text_of
from xray_otel._ids import is_run_id, leaves_whole
from xray_otel._item_ids import Key, item_id
from xray_otel._setup import client
from xray_otel._text import NAME_BYTES
from xray_otel.errors import UsageError


def outcome(
    run_id: str,
    name: str,
    value: bool | int | float | str | None = None,
    *,
    item: Any = None,
    source: str | None = None,
    time: datetime.datetime | None = None,
    withdrawn: bool = False,
    key: Key = None,
) -> None:
    """
    Says what became known of a run, or of an item in it, at any time and from any process.

    value: true or false, a number, or a text of at most 512 bytes. item: as for ``step.accept``, with
    ``key``; without it the run itself is meant. source: who or what says so. time: when it was
    observed, an aware datetime; default now. Of several for one run, name and item the one observed
    last holds, in whatever order they arrive, so a correction is said the same way; ``withdrawn``
    takes it back without another value.

    The run need not be known to the server yet: of one that it does not know it makes a stub, so that a
    mistyped id shows as a run with nothing in it. A run id that is masked is misuse. Misuse raises
    UsageError in mode ``strict``. Costs 15 us.
    """
    current = _setup.client_or_none()
    try:
        current = client()
        if current.settings.disabled:
            return
        if not is_run_id(run_id):
            raise UsageError(f"run_id must be 1 to 128 of A-Z a-z 0-9 _ -, got {shown(run_id)}")
        if not leaves_whole(run_id):
            raise UsageError(f"run_id {shown(run_id)} is masked, so nobody would know the run by it")
        attributes: dict[str, object] = {
            semconv.RUN_ID: run_id,
            semconv.OUTCOME_NAME: text_of(name, NAME_BYTES),
        }
        if not attributes[semconv.OUTCOME_NAME]:
            raise UsageError("name must say what the value is about, such as bad_match")
        if withdrawn:
            attributes[semconv.OUTCOME_WITHDRAWN] = True
        else:
            attributes[semconv.OUTCOME_VALUE] = _value(name, value)
        if item is not None:
            of_item = _mask.current.item_id(item_id(item, key))
            if not of_item:
                raise UsageError("item must have an id that is not empty; leave item out to mean the run")
            attributes[semconv.OUTCOME_ITEM_ID] = of_item
        if source is not None:
            attributes[semconv.OUTCOME_SOURCE] = text_of(source, NAME_BYTES)
        event = Event(semconv.EVENT_OUTCOME, _observed_ns(time), attributes, current.tracing.resource)
        current.emit(Priority.RUN, event)
    except Exception as error:
        # Settings that are not accepted leave no client in mode strict, where everything raises.
        if current is None:
            raise
        current.guard.failed("outcome", error)


def _value(name: object, value: Any) -> bool | int | float | str:
    plain = scalar(value)
    if isinstance(plain, str):
        plain = named_text(name, plain, NAME_BYTES)
    if plain is None or plain == "":
        raise UsageError(f"value must be true, false, a finite number or a text, got {shown(value)}")
    return plain


def _observed_ns(time: object) -> int:
    if time is None:
        return clock.time_ns()
    if not isinstance(time, datetime.datetime) or time.tzinfo is None:
        raise UsageError(f"time must be an aware datetime, got {shown(time)}")
    since = time - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1) * 1000
