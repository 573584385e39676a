"""Why one item and not another: where their ways part, by how much, and what would have turned it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from api.replay.comparing import is_number
from api.replay.engine import Fate, rerun
from api.replay.facts import PASSING, StepFacts
from api.replay.flip import Flip, NoFlip, smallest_flip
from api.replay.ordering import positions
from api.replay.result import Cited, cite
from api.replay.rules import NoSuchRule, find_rule, rejected, rule_names

Kind = Literal["parted", "same_fate", "never_entered", "unknown"]
"""
``parted``: a step let one go on and not the other, or only one of them came there. ``same_fate``: no step
told them apart. ``never_entered``: no source gave one of them. ``unknown``: it happened where not every
candidate was recorded.
"""
_Passes = Literal["passes", "fails", "absent", "unknown"]


@dataclass(frozen=True)
class Margin:
    """How far a candidate was from the limit of one rule."""

    rule: str | None
    comparator: str | None
    value: object
    threshold: object
    passed: bool | None
    margin: float | None
    """Above 0 on the side that passes, by so much; None where value, threshold or side are not known."""
    relative: float | None
    """The same as a share of the threshold."""


@dataclass(frozen=True)
class Side:
    """What a step said of one of the two."""

    item_id: str
    presence: _Passes
    said: Sequence[Cited]
    margins: Sequence[Margin]
    position: int | None
    """By score from 1, where the recorded order follows from the scores."""


@dataclass(frozen=True)
class Contrast:
    """Two items of a run, held against each other."""

    kind: Kind
    step: StepFacts | None
    """Where their ways part, or both were lost; where it is not known, the first step that may be it."""
    item: Side | None
    over: Side | None
    score_difference: float | None
    """Of the item's over the other's, at that step."""
    fates: Mapping[str, Fate | None]
    """What became of each, None where no decision names it."""
    sources: Sequence[StepFacts]
    """For ``never_entered``: the sources, none of which gave it."""
    flips: Sequence[Flip]
    """Changes that turn what the step said of one of them, the smallest certain one first."""
    no_flip: str | None
    """Why there is none."""


def contrast(steps: Sequence[StepFacts], item: str, over: str) -> Contrast:
    """Return where the ways of two items part."""
    recorded = rerun(steps, [], assume=True).fates
    fates = {name: recorded.get(name) for name in (item, over)}
    if None in fates.values():
        return _missing(steps, fates, item, over)
    kind, step = _parting(steps, item, over)
    if step is None:
        return Contrast(kind, None, None, None, None, fates, (), (), "same_fate")
    sides = _side(step, item), _side(step, over)
    flips, no_flip = _flips(steps, step, sides) if kind == "parted" else ((), kind)
    scores = [side.said[-1].score if side.said else None for side in sides]
    one, other = scores
    difference = None if one is None or other is None else one - other
    return Contrast(kind, step, *sides, difference, fates, (), flips, no_flip)


def _missing(steps: Sequence[StepFacts], fates: Mapping[str, Fate | None], item: str, over: str) -> Contrast:
    """One that no decision names entered nowhere, if each source recorded all that it gave."""
    sources = [step for step in steps if step.is_source] or list(steps[:1])
    blind = [step for step in steps if step.evidence != "full"]
    if blind:
        return Contrast("unknown", blind[0], None, None, None, fates, (), (), "not_recorded")
    return Contrast(
        "never_entered",
        sources[0] if sources else None,
        _side(sources[0], item) if sources else None,
        _side(sources[0], over) if sources else None,
        None,
        fates,
        sources,
        (),
        "never_judged",
    )


def _parting(steps: Sequence[StepFacts], item: str, over: str) -> tuple[Kind, StepFacts | None]:
    last = {name: max(p for p, s in enumerate(steps) if name in s.by_item) for name in (item, over)}
    one_way = sum(step.is_source for step in steps) <= 1 and not any(len(step.feeds) > 1 for step in steps)
    both_lost: StepFacts | None = None
    for place, step in enumerate(steps):
        one, other = (_passes(step, name) for name in (item, over))
        # One that comes up again later has passed where it was not recorded, if there is one way only.
        one = "passes" if one == "unknown" and one_way and place < last[item] else one
        other = "passes" if other == "unknown" and one_way and place < last[over] else other
        if "fails" not in (one, other):
            continue
        if one == other:
            both_lost = step
            if max(last.values()) <= place:
                break
            continue
        if "unknown" in (one, other):
            return "unknown", step
        return "parted", step
    if both_lost is None and any(step.evidence != "full" for step in steps[min(last.values()) + 1 :]):
        return "unknown", next(s for s in steps[min(last.values()) + 1 :] if s.evidence != "full")
    return "same_fate", both_lost


def _passes(step: StepFacts, item: str) -> _Passes:
    places = step.by_item.get(item, ())
    if not places:
        return "absent" if step.evidence == "full" else "unknown"
    return "passes" if any(step.decisions[place].verdict in PASSING for place in places) else "fails"


def _side(step: StepFacts, item: str) -> Side:
    places = step.by_item.get(item, ())
    place = places[-1] if places else None
    known = positions(step) if step.cuts and place is not None else {}
    return Side(
        item,
        _passes(step, item),
        cite(step, item),
        () if place is None else _margins(step, place),
        None if place is None else known.get(place),
    )


def _margins(step: StepFacts, place: int) -> list[Margin]:
    """Of the rules that are known to have judged the candidate."""
    decision = step.decisions[place]
    found: list[Margin] = []
    names: Sequence[str | None] = rule_names(step) or [None]
    for name in names:
        if rejected(decision) and not decision.checks and (decision.reason or "") != (name or ""):
            continue
        try:
            rule = find_rule(step, name, assume=True)
        except NoSuchRule:
            continue
        seen = rule.observed[place]
        if seen is None or (seen.value is None and seen.threshold is None):
            continue
        margin = relative = None
        if is_number(seen.value) and is_number(seen.threshold) and rule.comparator.upper is not None:
            sign = 1 if rule.comparator.upper else -1
            margin = sign * float(seen.threshold - seen.value)
            relative = margin / abs(seen.threshold) if seen.threshold else None
        found.append(
            Margin(rule.name, rule.comparator.text, seen.value, seen.threshold, seen.passed, margin, relative)
        )
    return found


def _flips(
    steps: Sequence[StepFacts], step: StepFacts, sides: Sequence[Side]
) -> tuple[Sequence[Flip], str | None]:
    tried = [smallest_flip(steps, step, side.item_id) for side in sides]
    found = [flip for flip in tried if isinstance(flip, Flip)]
    found.sort(key=lambda flip: (flip.certainty != "certain", flip.relative is None, flip.relative or 0.0))
    reasons = [
        none.reason
        for side, none in zip(sides, tried, strict=True)
        if isinstance(none, NoFlip) and side.presence == "fails"
    ]
    return found, None if found else (reasons[0] if reasons else "no_rule")
