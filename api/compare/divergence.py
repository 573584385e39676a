"""Which step differs by itself, and which because of another; the first that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.compare.records import Divergence, ItemChanges, Kind, Side, Standing, StepDiff, StepPair
from api.compare.steps import Seen, look
from store.queries.types import StepRecord

_EFFECTS = frozenset(("step", "status", "candidates", "verdicts", "scores", "values", "counts", "output"))
"""Kinds in which decisions differ, or what they rest on."""
_HANDED_ON = _EFFECTS | {"fields"}
_DECIDED = ("verdict", "reason", "score", "value", "only_a", "only_b")


def diff_steps(pairs: Sequence[StepPair], a: Side, b: Side) -> list[StepDiff]:
    """One record per pair, in order."""
    sources = _sources(pairs)
    found: list[StepDiff] = []
    for place, pair in enumerate(pairs):
        seen = look(pair, a, b)
        # A run differs from itself in nothing, whatever of it was recorded.
        seen = seen._replace(proven=seen.proven or a is b)
        before = [found[source] for source in sources[place]]
        standing = _standing(pair, seen, before)
        found.append(
            StepDiff(
                place=place,
                pair=pair,
                standing=standing,
                kinds=() if standing in ("same", "unknown") else tuple(seen.kinds),
                received=seen.received,
                config=tuple(seen.config),
                differences=tuple(seen.differences),
                items=seen.items,
                evidence=seen.evidence,
                whole=seen.proven,
                by_value=seen.by_value,
            )
        )
    return found


def first_divergence(steps: Sequence[StepDiff], *, decided: bool = False) -> Divergence | None:
    """
    The first step in order that did something else with what it received; None when none did.

    decided: one whose decisions differ, not its configuration or statistics alone.
    """
    sources = _sources([step.pair for step in steps])
    for step in steps:
        # The first with other decisions cannot follow from others, only from what is not about decisions.
        own = step.standing in ("differs", "only_a", "only_b")
        if not (_EFFECTS.intersection(step.kinds) if decided else own):
            continue
        kind = _kind(step, decided=decided)
        hidden = _hidden(step, _ancestors(step.place, steps, sources))
        possible = [*(one.name for one in hidden), step.name]
        return Divergence(
            place=step.place,
            step=step.name,
            step_id_a=None if step.pair.a is None else step.pair.a.step_id,
            step_id_b=None if step.pair.b is None else step.pair.b.step_id,
            kind=kind,
            certain=len(possible) == 1,
            possible_steps=possible,
            text=_text(step, kind, hidden),
        )
    return None


def _kind(step: StepDiff, *, decided: bool) -> Kind:
    if not decided:
        return step.kinds[0]
    return next(kind for kind in step.kinds if kind in _EFFECTS)


def _standing(pair: StepPair, seen: Seen, before: Sequence[StepDiff]) -> Standing:
    if pair.b is None:
        return "only_a"
    if pair.a is None:
        return "only_b"
    if not seen.kinds:
        return "same" if seen.proven else "unknown"
    # What a step hands on: other settings without effect change nothing behind it.
    upstream = any(_HANDED_ON.intersection(step.kinds) for step in before)
    # Settings are handed on by no step: they differ by themselves, also behind one that differs.
    return "follows" if upstream and "config" not in seen.kinds else "differs"


def _hidden(step: StepDiff, behind: Sequence[StepDiff]) -> Sequence[StepDiff]:
    """The earlier steps in which the difference may have begun; none when it is this step's for certain."""
    took = step.pair.a is not None and step.pair.a.candidates_in is not None
    if step.received != "same" or not took:
        return [one for one in behind if one.standing == "unknown"]
    # The same candidates came in: what an earlier step did to them shows in their values alone.
    if not step.by_value or "config" in step.kinds:
        return ()
    return [one for one in behind if _HANDED_ON.intersection(one.kinds)] or behind[-1:]


def _ancestors(place: int, steps: Sequence[StepDiff], sources: Mapping[int, Sequence[int]]) -> list[StepDiff]:
    seen: set[int] = set()
    ahead = list(sources[place])
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            ahead += sources[one]
    return [steps[one] for one in sorted(seen)]


def _sources(pairs: Sequence[StepPair]) -> dict[int, list[int]]:
    """The places that each pair takes its candidates from, in either run."""
    of_a = {pair.a.step_id: place for place, pair in enumerate(pairs) if pair.a is not None}
    of_b = {pair.b.step_id: place for place, pair in enumerate(pairs) if pair.b is not None}
    found: dict[int, list[int]] = {}
    last_a = last_b = None
    for place, pair in enumerate(pairs):
        places = {*_parents(pair.a, of_a, last_a), *_parents(pair.b, of_b, last_b)}
        # Only what stands before: a parent that is named and comes later cannot have handed anything on.
        found[place] = sorted(one for one in places if one < place)
        last_a = last_a if pair.a is None else place
        last_b = last_b if pair.b is None else place
    return found


def _parents(step: StepRecord | None, places: Mapping[str, int], last: int | None) -> list[int]:
    if step is None:
        return []
    if step.parents is None:
        return [] if last is None else [last]
    return [places[parent] for parent in step.parents if parent in places]


def _text(step: StepDiff, kind: Kind, hidden: Sequence[StepDiff]) -> str:
    said = _what(step, kind)
    if not hidden:
        return said
    earlier = ", ".join(one.name for one in hidden)
    if all(one.standing == "unknown" for one in hidden):
        return f"{said}; not each decision of {earlier} was recorded, so it may have begun there"
    return f"{said}; it observed other values of them, which {earlier} may have set"


def _what(step: StepDiff, kind: Kind) -> str:
    name = step.name
    if kind == "step":
        return f"{name} ran in {'a' if step.pair.b is None else 'b'} only"
    if kind == "config":
        shown = ", ".join(f"{one.field} {_shown(one.a)} → {_shown(one.b)}" for one in step.config)
        return f"{name} had other settings: {shown}"
    if kind == "status":
        by_name = {one.field: one for one in step.differences}
        return f"{name} ended {_shown(by_name['status'].a)} in a and {_shown(by_name['status'].b)} in b"
    if kind == "candidates":
        given = " for another input" if any(one.field == "input" for one in step.differences) else ""
        return f"{name} {_took(step)} other candidates{given}: {_items(step.items)}"
    if kind in ("verdicts", "scores", "values"):
        return f"{name} decided otherwise about the same items: {_items(step.items)}"
    fields = ", ".join(one.field for one in step.differences[:4])
    return f"{name} differs in {fields}"


def _took(step: StepDiff) -> str:
    a = step.pair.a
    return "found" if a is not None and a.candidates_in is None else "took"


def _items(items: ItemChanges) -> str:
    words = {"only_a": "in a only", "only_b": "in b only"}
    counted = [
        f"{items.changed[kind]:,} {words.get(kind, kind)}" for kind in _DECIDED if kind in items.changed
    ]
    return f"{', '.join(counted) or 'counts alone'} (of {items.both:,} in both)"


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
