"""
Late outcomes of runs and items: ``xray.outcome``, and the objects of the JSON doors.

One belongs to the run that it names, and to no other: that it was sent within some trace says nothing
about the run, so the trace does not stand in for it as it does elsewhere. Nor is it a sign that the run
goes on. Decision 0039.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from collector.extract.door_fields import time_field
from collector.extract.extraction import Extraction
from collector.extract.fields import INT64_MAX, NAME_BYTES, name
from collector.extract.identity import is_run_id, time
from collector.extract.readings import NamedValues
from store.rows import Flag, Outcome
from xray_otel import semconv

FIELDS = frozenset({"name", "value", "item_id", "source", "observed_at", "withdrawn"})
"""Of an outcome's object, besides ``run_id`` where objects name their runs."""
_EXACT = 1 << 53
_FIELD_OF = {
    "name": semconv.OUTCOME_NAME,
    "value": semconv.OUTCOME_VALUE,
    "item_id": semconv.OUTCOME_ITEM_ID,
    "source": semconv.OUTCOME_SOURCE,
    "withdrawn": semconv.OUTCOME_WITHDRAWN,
}
_TIME = f"{semconv.EVENT_OUTCOME}.time_unix_nano"


class Unusable(ValueError):
    """An outcome that cannot be stored; the text says what is wrong."""


def extract_outcome(attributes: NamedValues, time_ns: int, extraction: Extraction) -> None:
    """Add the outcome of one event; one that says nothing, or of no run, is refused."""
    run_id = attributes.get(semconv.RUN_ID)
    sent = {field: attributes.get(attribute) for field, attribute in _FIELD_OF.items()}
    flags: list[Flag] = []
    observed = time(time_ns, _TIME, extraction.received_ns, flags)
    try:
        if not is_run_id(run_id):
            raise Unusable(f"{semconv.RUN_ID} must name its run; the trace does not stand in for it")
        extraction.outcomes.append(_outcome(run_id, sent, observed.ns, _FIELD_OF, flags))
    except Unusable as exc:
        extraction.refuse("outcome", f"event {semconv.EVENT_OUTCOME!r}: {exc}")
    for raised in flags:
        extraction.warn(f"event {semconv.EVENT_OUTCOME!r}: {raised.field}: {raised.code}")


def outcome_of_door(run_id: Any, sent: Mapping[str, Any], received_ns: int) -> tuple[Outcome, list[str]]:
    """Return the outcome that an object stands for, and what to know about it; raises ``Unusable``."""
    flags: list[Flag] = []
    if not is_run_id(run_id):
        raise Unusable("run_id must be 1 to 128 characters of A-Z, a-z, 0-9, _ and -")
    observed = time_field(sent, "observed_at", received_ns, flags)
    if observed.ns is None:
        raise Unusable(
            "observed_at must say when it was observed, as RFC 3339 text with an offset or nanoseconds since "
            "1970, from 2000 to a day ahead: of two that differ the later one holds"
        )
    outcome = _outcome(run_id, sent, observed.ns, {field: field for field in FIELDS}, flags)
    return outcome, [f"{raised.field}: {raised.code}" for raised in flags]


def _outcome(
    run_id: str,
    sent: Mapping[str, Any],
    observed_ns: int | None,
    called: Mapping[str, str],
    flags: list[Flag],
) -> Outcome:
    """called: how its fields are named where it came from."""
    label = sent.get("name")
    if not isinstance(label, str) or not label:
        raise Unusable(f"{called['name']} must be a text of 1 to {NAME_BYTES} bytes")
    withdrawn = sent.get("withdrawn")
    if withdrawn is not None and not isinstance(withdrawn, bool):
        raise Unusable(f"{called['withdrawn']} must be true or false")
    item_id = sent.get("item_id")
    if item_id is not None and (not isinstance(item_id, str | int) or isinstance(item_id, bool)):
        raise Unusable(f"{called['item_id']} must be a text")
    if item_id == "":
        # Not the run's own: whoever lost the id of the item did not mean all of the run.
        raise Unusable(f"{called['item_id']} must not be empty; leave it out where the run itself is meant")
    clean_label = name(label, called["name"], flags)
    if clean_label is None:
        raise Unusable(f"{called['name']} must be a text of 1 to {NAME_BYTES} bytes")
    return Outcome(
        run_id=run_id,
        name=clean_label,
        item_id=name(item_id if item_id is None else str(item_id), called["item_id"], flags),
        value=None if withdrawn else _value(sent.get("value"), called["value"], flags),
        observed_ns=observed_ns,
        source=name(sent.get("source"), called["source"], flags),
    )


def _value(value: Any, field: str, flags: list[Flag]) -> bool | int | float | str:
    """Return a boolean, a finite number (of equal ones the same) or a short text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > INT64_MAX:
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, int):
        return value
    if isinstance(value, str) and (text := name(value, field, flags)) is not None:
        return str(text)
    raise Unusable(f"{field} must be true, false, a finite number or a text of 1 to {NAME_BYTES} bytes")
