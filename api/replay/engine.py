"""
A run once more under changed rules, step by step.

Nothing is run: verdicts follow from what the steps recorded, or they are unknown. What follows for
certain and what follows only if the record shows all rules are two passes of the same code
(``assume``), so that neither leaks into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from api.replay.facts import PASSING, Change, StepFacts
from api.replay.judging import Verdict, as_recorded, rejudge, said
from api.replay.ordering import Field, reorder


class Fate(NamedTuple):
    """What became of an item, and at which step that was decided."""

    word: str | None
    """kept, selected, eliminated, not_selected, … ; None: not known, for the cause."""
    step_id: str
    cause: str | None = None


@dataclass
class Replayed:
    """One step once more."""

    step: StepFacts
    verdicts: Sequence[Verdict]
    """Per decision, if the candidate arrives."""
    arrives: Sequence[bool | None]
    """Per decision; None: not known."""
    newcomers: Mapping[str, bool | None]
    """Items that arrive and did not before; None: perhaps."""
    hidden: bool
    """Whether candidates that the record does not name may come or stay away."""
    ancestors: frozenset[str] = frozenset()
    """Steps from which its candidates come, as far as that is known."""
    out: dict[str, bool | None] = field(default_factory=dict)
    """Item to whether it goes on."""
    changed: bool = False
    """Whether what goes on may be other than what went on."""
    stirred: bool = False
    """Whether the candidates may come in another order: what one branch loses may come by another."""
    at_an_end: bool = False
    """Whether somebody may go on from where nobody did, and no step is known to follow."""


@dataclass
class Rerun:
    """A run once more."""

    steps: dict[str, Replayed]
    fates: dict[str, Fate]

    @property
    def is_whole(self) -> bool:
        """Whether each verdict and each arrival is known."""
        return not any(
            replayed.hidden
            or replayed.at_an_end
            or replayed.newcomers
            or None in replayed.arrives
            or any(verdict.word is None for verdict in set(replayed.verdicts))
            for replayed in self.steps.values()
        )


def rerun(
    steps: Sequence[StepFacts], changes: Sequence[Change], assume: bool, so_far: Rerun | None = None
) -> Rerun:
    """
    Return what the steps would have decided, in their order.

    so_far: what was found of the first steps, of which none changes. Raises ``rules.NoSuchRule`` for a rule
    that a changed step does not have.
    """
    done = {} if so_far is None else dict(so_far.steps)
    fates = {} if so_far is None else dict(so_far.fates)
    for step in steps[len(done) :]:
        mine = [change for change in changes if change.step_id == step.step_id]
        replayed = _arrivals(step, done, assume)
        replayed.ancestors = frozenset(step.feeds).union(
            *(done[feed].ancestors for feed in step.feeds if feed in done)
        )
        stirred = replayed.stirred or replayed.hidden
        slate_changed = stirred or bool(replayed.newcomers) or not all(replayed.arrives)
        replayed.verdicts = _verdicts(step, mine, replayed, slate_changed, assume)
        _settle(replayed, fates, done, concerned=slate_changed or bool(mine))
        done[step.step_id] = replayed
    if not assume:
        _stop_at_ends(done, fates)
    return Rerun(done, fates)


def unchanged(steps: Sequence[StepFacts], changes: Sequence[Change]) -> Rerun:
    """Return the steps before the first that changes, as they decided; ``rerun`` goes on from there."""
    changed = {change.step_id for change in changes}
    first = next((place for place, step in enumerate(steps) if step.step_id in changed), len(steps))
    return rerun(steps[:first], [], assume=True)


def _arrivals(step: StepFacts, done: Mapping[str, Replayed], assume: bool) -> Replayed:
    feeds = [done[feed] for feed in step.feeds if feed in done]
    before = any(replayed.changed for replayed in done.values())
    if not before:
        return Replayed(step, (), [True] * len(step.decisions), {}, hidden=False)
    if not feeds:
        alone = step.is_source and step.declared.item_independent is not False
        stays = alone and (assume or step.declared.item_independent is True)
        return Replayed(step, (), [True if stays else None] * len(step.decisions), {}, hidden=not stays)
    # A step that does not say where its candidates come from may take them from any before it.
    line = frozenset(step.feeds).union(*(feed.ancestors for feed in feeds))
    aside = [] if step.says_feeds else [other for name, other in done.items() if name not in line]
    arrives = _whether_they_arrive(step, feeds, aside)
    newcomers = {
        item: passes if other in feeds else None
        for other in (*aside, *feeds)
        for item, passes in other.out.items()
        if passes is not False and item not in other.step.passed and item not in arrives
    }
    hidden = any(other.hidden or _multiplies(other) for other in feeds)
    hidden = hidden or any(other.changed for other in aside)
    ways = (*feeds, *aside)
    stirred = any(way.stirred or (way.changed and len(ways) > 1) for way in ways)
    return Replayed(
        step, (), [arrives[d.item_id] for d in step.decisions], newcomers, hidden, stirred=stirred
    )


def _whether_they_arrive(
    step: StepFacts, feeds: Sequence[Replayed], aside: Sequence[Replayed]
) -> Mapping[str, bool | None]:
    unseen = len(feeds) < len(step.feeds)
    if len(feeds) > 1 or aside or unseen:
        return {
            item: _arrives(item, feeds, aside, unseen=unseen, copies=len(places))
            for item, places in step.by_item.items()
        }
    passed, out = feeds[0].step.passed, feeds[0].out
    return {item: out[item] if item in passed else _arrives(item, feeds, ()) for item in step.by_item}


def _multiplies(before: Replayed) -> bool:
    """Whether an item that was judged several times may now go on more often than it did."""
    step = before.step
    if not before.changed or len(step.by_item) == len(step.items):
        return False
    return any(
        len(places) > 1 and passes is not False and passes is not (item in step.passed)
        for item, places in step.by_item.items()
        for passes in (before.out[item],)
    )


def _arrives(
    item: str, feeds: Sequence[Replayed], aside: Sequence[Replayed], *, unseen: bool = False, copies: int = 1
) -> bool | None:
    """
    Whether an item that did arrive does. aside: steps before that are not known to hand over to it.

    unseen: whether steps hand over to it of which nothing is known. copies: how often it arrived.
    """
    if not any(item in feed.step.passed for feed in feeds):
        # It came from nobody knows where, or the step before did not record it.
        return True if all(not feed.changed and feed.step.evidence != "full" for feed in feeds) else None
    if any(feed.out.get(item) for feed in feeds):
        # Of several copies another way may have handed over some, and do so no longer.
        fewer = any(feed.out.get(item, False) is not (item in feed.step.passed) for feed in feeds)
        return None if copies > 1 and fewer else True
    unsure = any(feed.out.get(item) is None and (item in feed.out or feed.hidden) for feed in feeds)
    # One that did not record everybody may have handed it over, too.
    unseen = unseen or any(feed.step.evidence != "full" and item not in feed.step.by_item for feed in feeds)
    unsure = unsure or unseen or any(item in other.step.passed for other in aside)
    return None if unsure else False


def _verdicts(
    step: StepFacts, mine: Sequence[Change], replayed: Replayed, slate_changed: bool, assume: bool
) -> Sequence[Verdict]:
    if not mine and not slate_changed:
        return as_recorded(step)
    if step.trouble is not None:
        return [said(None, step.trouble)] * len(step.decisions)
    rules = [change for change in mine if change.top_k is None]
    if step.cuts and not rules:
        newcomers = None if replayed.hidden else len(replayed.newcomers)
        field = Field(
            [arrives is True for arrives in replayed.arrives],
            [arrives is not False for arrives in replayed.arrives],
            newcomers,
            not slate_changed,
        )
        top_k = next((change.top_k for change in reversed(mine) if change.top_k is not None), None)
        return reorder(step, field, top_k, assume)
    if len(rules) < len(mine) or (slate_changed and not _judges_alone(step, assume)):
        return [said(None, "depends_on_others")] * len(step.decisions)
    return rejudge(step, rules, assume) if rules else as_recorded(step)


def _judges_alone(step: StepFacts, assume: bool) -> bool:
    """Whether a verdict stands beside any other candidates."""
    if step.cuts or step.looks_at_others:
        return False
    return step.declared.item_independent is True or (assume and step.step_type in ("filter", "search"))


def _settle(
    replayed: Replayed, fates: dict[str, Fate], done: Mapping[str, Replayed], *, concerned: bool
) -> None:
    """Says for each item whether it goes on, and what became of it so far."""
    step = replayed.step
    alone = [item for item, places in step.by_item.items() if len(places) == 1]
    _settle_single(replayed, fates, alone)
    for item, places in step.by_item.items() if len(alone) < len(step.by_item) else ():
        if len(places) == 1:
            continue
        verdicts = [replayed.verdicts[place] for place in places]
        arrives = replayed.arrives[places[0]]
        replayed.out[item] = passes = _goes_on(step, places, verdicts, arrives)
        if passes is not (item in step.passed):
            replayed.changed = True
        if arrives is not False:  # else it was lost before
            fates[item] = _fate(step, verdicts, arrives)
    for item in replayed.newcomers:
        replayed.out[item] = None
        if fates[item].cause != "never_judged":
            fates[item] = Fate(None, step.step_id, "never_judged")
    if step.evidence != "full" and not step.is_source:
        _lose_sight(step, fates, done)
    replayed.hidden = replayed.hidden or (concerned and step.evidence != "full")
    replayed.changed = replayed.changed or replayed.hidden or bool(replayed.newcomers)


def _settle_single(replayed: Replayed, fates: dict[str, Fate], items: Sequence[str]) -> None:
    """The same of items that were judged once, as nearly all are, in a tenth of the time."""
    step, verdicts, out = replayed.step, replayed.verdicts, replayed.out
    told = {verdict: Fate(verdict.word, step.step_id, verdict.cause) for verdict in set(verdicts)}
    passing = {verdict: verdict.passes for verdict in told}
    if len(items) == len(step.items) and all(replayed.arrives):
        passes = [passing[verdict] for verdict in verdicts]
        out.update(zip(items, passes, strict=True))
        fates.update(zip(items, map(told.__getitem__, verdicts), strict=True))
        replayed.changed = replayed.changed or passes != step.passes
        return
    unsure = Fate(None, step.step_id, "arrival")
    for item in items:
        [place] = step.by_item[item]
        arrives, verdict = replayed.arrives[place], verdicts[place]
        goes_on = passing[verdict]
        goes_on = False if arrives is False or goes_on is False else goes_on if arrives else None
        out[item] = goes_on
        if goes_on is not step.passes[place]:
            replayed.changed = True
        if arrives is not False:  # else it was lost before
            fates[item] = told[verdict] if arrives else unsure


def _stop_at_ends(done: Mapping[str, Replayed], fates: dict[str, Fate]) -> None:
    """Where nobody was left a run may have ended early: which steps would follow is not in its record."""
    followed = {feed for replayed in done.values() for feed in replayed.step.feeds}
    for name, replayed in done.items():
        if not replayed.changed or replayed.step.passed or name in followed:
            continue
        for item, passes in replayed.out.items():
            if passes and fates[item].step_id == name:
                fates[item] = Fate(None, name, "at_an_end")
                replayed.at_an_end = True


def _lose_sight(step: StepFacts, fates: dict[str, Fate], done: Mapping[str, Replayed]) -> None:
    """
    Of what went on to a step that did not record it, nobody knows what became; nor of what was lost on
    one branch and may have come by another.
    """
    cause = "no_decisions" if step.evidence == "none" else "not_recorded"
    round_it: dict[str, bool] = {}
    for item, fate in fates.items():
        if fate.word is None or item in step.by_item:
            continue
        if fate.word in PASSING:
            unsure = not step.says_feeds or fate.step_id in step.feeds
        else:
            if fate.step_id not in round_it:
                round_it[fate.step_id] = _other_way(step, fate.step_id, done)
            unsure = round_it[fate.step_id]
        if unsure:
            fates[item] = Fate(None, step.step_id, cause)


def _other_way(step: StepFacts, lost_at: str, done: Mapping[str, Replayed]) -> bool:
    """Whether candidates may come to the step without having passed another one."""
    waiting, seen = [step], set[str]()
    while waiting:
        at = waiting.pop()
        known = [done[feed].step for feed in at.feeds if feed in done]
        if not known or len(known) < len(at.feeds):
            return True
        seen |= set(at.feeds)
        waiting += [feed for feed in known if feed.step_id != lost_at]
    sources = {name for name, other in done.items() if other.step.is_source}
    return not step.says_feeds and not sources <= seen and len(sources) > 1


def _goes_on(
    step: StepFacts, places: Sequence[int], verdicts: Sequence[Verdict], arrives: bool | None
) -> bool | None:
    passing = [verdict.passes for verdict in verdicts]
    if arrives is False or all(passes is False for passes in passing):
        return False
    if arrives is None or any(passes is None for passes in passing):
        return None
    before = [step.decisions[place].verdict in PASSING for place in places]
    # Judged several times, it may go on several times: later steps saw another number of it.
    return True if passing == before or not any(before) else None


def _fate(step: StepFacts, verdicts: Sequence[Verdict], arrives: bool | None) -> Fate:
    """Of several decisions the last that goes on counts, else the last."""
    passing = [verdict.passes for verdict in verdicts]
    if arrives is None:
        return Fate(None, step.step_id, "arrival")
    if all(passes is False for passes in passing):
        return Fate(verdicts[-1].word, step.step_id)
    if None in passing:
        cause = next(verdict.cause for verdict in verdicts if verdict.passes is None)
        return Fate(None, step.step_id, cause)
    return Fate([verdict.word for verdict in verdicts if verdict.passes][-1], step.step_id)
