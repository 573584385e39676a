"""How one step differs between two runs; whether that follows from earlier steps is said elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from api.compare.items import Compared, compare_items, equal
from api.compare.records import Difference, ItemChanges, Kind, Side, StepPair
from store.decisions import Decision
from store.queries.types import StepRecord

_CONFIG = ("step_type", "model", "temperature", "top_k", "config_fingerprint")
_VERDICTS = ("kept", "eliminated", "scored", "selected", "not_selected", "deferred", "merged")
_SCORES = ("min", "max", "mean", "std", "p10", "p50", "p90")
_GRADES = ("none", "partial", "sampled", "full")
_GOES_ON = frozenset(("kept", "selected", "scored"))
_NOTHING = ItemChanges(0, 0, {}, ())

Received = Literal["same", "other", "unknown"]


class Seen(NamedTuple):
    """What the records of one pair show."""

    config: Sequence[Difference]
    differences: Sequence[Difference]
    kinds: Sequence[Kind]
    received: Received
    items: ItemChanges
    evidence: Literal["full", "sampled", "partial", "none"]
    proven: bool
    """Whether all that the step decided is there, so that what is not seen to differ is the same."""
    by_value: bool
    """Whether what it decided differs for items alone of which it also observed another value."""


def look(pair: StepPair, a: Side, b: Side) -> Seen:
    """Hold a pair's records against each other."""
    if pair.a is None or pair.b is None:
        return Seen((), (), ("step",), "unknown", _NOTHING, "none", proven=True, by_value=False)
    mine, others = _decisions(pair.a, a), _decisions(pair.b, b)
    whole = _whole(pair.a, a) and _whole(pair.b, b)
    compared = compare_items(mine, others, sampled=not whole)
    differences = [*_status(pair.a, pair.b), *_figures(pair.a, pair.b)]
    received = _received(mine, others, pair) if whole else "unknown"
    config = [*_config(pair.a, pair.b), *_threshold(compared, received)]
    kinds = _kinds(pair, config, differences, compared, received)
    proven = whole or _decides_nothing(pair.a, pair.b)
    return Seen(
        config,
        differences,
        kinds,
        received,
        compared.changes,
        _lesser(pair.a, pair.b),
        proven,
        by_value="value" in compared.changes.changed and compared.valued,
    )


def judged_items(step: StepRecord, side: Side) -> list[str]:
    """The ids of the items that a step judged, as far as was recorded."""
    return [one.item_id for one in _decisions(step, side)]


def _decisions(step: StepRecord, side: Side) -> Sequence[Decision]:
    return side.decisions.get((step.step_id, step.attempt_key), ())


def _whole(step: StepRecord, side: Side) -> bool:
    unread = (step.step_id, step.attempt_key) in side.unread
    return step.completeness.evidence == "full" and not step.completeness.missing and not unread


def _decides_nothing(a: StepRecord, b: StepRecord) -> bool:
    """Steps without candidates, such as a model that is asked for a text: there is no more than their row."""
    counts = (a.candidates_in, a.candidates_out, b.candidates_in, b.candidates_out)
    recorded = (a.completeness.decisions_stored, b.completeness.decisions_stored)
    return counts == (None,) * 4 and not any(recorded)


def _lesser(a: StepRecord, b: StepRecord) -> Literal["full", "sampled", "partial", "none"]:
    return min(a.completeness.evidence, b.completeness.evidence, key=_GRADES.index)


def _received(mine: Sequence[Decision], others: Sequence[Decision], pair: StepPair) -> Received:
    """Whether both got the same candidates; a source gets none, and what it finds is its own doing."""
    if pair.a is not None and pair.b is not None and pair.a.candidates_in is pair.b.candidates_in is None:
        return "same"
    return "same" if Counter(d.item_id for d in mine) == Counter(d.item_id for d in others) else "other"


def _config(a: StepRecord, b: StepRecord) -> Iterable[Difference]:
    for name in _CONFIG:
        one, other = getattr(a, name), getattr(b, name)
        if not equal(one, other):
            yield Difference(name, one, other)


def _threshold(compared: Compared, received: Received) -> Iterable[Difference]:
    """
    A threshold of all items is a setting. One that varies, such as a budget that is used up, follows
    from what was received.
    """
    one, other = compared.thresholds
    if compared.no_constant or one is None or other is None or equal(one, other):
        return
    # Of one item it may be a remainder as well.
    if received == "same" or compared.changes.both > 1:
        yield Difference("threshold", one, other)


def _status(a: StepRecord, b: StepRecord) -> Iterable[Difference]:
    for name in ("status", "error_type", "error_message"):
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            yield Difference(name, one, other)


def _figures(a: StepRecord, b: StepRecord) -> Iterable[Difference]:
    """What the rows say in numbers and texts; not how long it took."""
    yield from _compared("", _plain(a), _plain(b))
    yield from _compared("reasons.", a.reasons, b.reasons, absent=0)
    yield from _compared("score.", _scores(a), _scores(b))
    yield from _compared("fields.", _flat(a.fields), _flat(b.fields))
    yield from _compared("sources.", a.sources, b.sources, absent=0)
    yield from _compared("metrics.", a.metrics, b.metrics)


def _plain(step: StepRecord) -> dict[str, Any]:
    named = {name: getattr(step, name) for name in ("candidates_in", "candidates_out", "selected_id")}
    counts = {f"counts.{name}": getattr(step.counts, name) for name in _VERDICTS}
    return named | counts | {name: getattr(step, name) for name in ("input", "output", "why")}


def _scores(step: StepRecord) -> dict[str, float | None]:
    return {name: getattr(step.score, name) for name in _SCORES}


def _flat(fields: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    return {f"{name}.{figure}": value for name, of in fields.items() for figure, value in of.items()}


def _compared(
    prefix: str, a: Mapping[str, Any], b: Mapping[str, Any], absent: Any = None
) -> Iterable[Difference]:
    for name in sorted(a.keys() | b.keys()):
        one, other = a.get(name, absent), b.get(name, absent)
        if not equal(one, other):
            yield Difference(prefix + name, one, other)


def _kinds(
    pair: StepPair,
    config: Sequence[Difference],
    differences: Sequence[Difference],
    compared: Compared,
    received: Received,
) -> list[Kind]:
    """In what the two differ, beyond what they received where that is known."""
    changed = compared.changes.changed
    fields = {difference.field.partition(".")[0] for difference in differences}
    found: list[Kind] = []
    if config:
        found.append("config")
    if "status" in fields:
        found.append("status")
    if received == "other" or {"only_a", "only_b"} & changed.keys():
        found.append("candidates")
    if {"verdict", "reason"} & changed.keys():
        found.append("verdicts")
    if "score" in changed:
        found.append("scores")
    if "value" in changed:
        found.append("values")
    if {"candidates_in", "candidates_out", "counts", "reasons", "score", "sources"} & fields:
        found.append("counts")
    if "fields" in fields:
        found.append("fields")
    if "selected_id" in fields and "verdicts" not in found:
        found.append("verdicts")
    if pair.a is not None and pair.b is not None and _decides_nothing(pair.a, pair.b) and "output" in fields:
        found.append("output")
    return found


def lets_through(step: StepRecord, side: Side) -> Counter[str] | None:
    """The items that a step let go on; None where not every decision is there."""
    if not _whole(step, side):
        return None
    return Counter(one.item_id for one in _decisions(step, side) if one.verdict in _GOES_ON)
