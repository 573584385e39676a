"""What a replay found, told with how surely it is known and what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, NamedTuple

from api.replay.engine import Fate, Replayed, Rerun, rerun, unchanged
from api.replay.facts import Change, StepFacts
from api.replay.judging import Verdict
from api.replay.rules import Rule, find_rule
from store.estimates import Estimate, Observed, estimate

Certainty = Literal["certain", "assumed", "unknown"]


@dataclass(frozen=True)
class Cited:
    """A decision, as the step recorded it."""

    step_id: str
    step: str
    item_id: str
    verdict: str
    reason: str | None
    score: float | None
    value: object
    threshold: object
    value_missing: bool
    checks: Sequence[Mapping[str, object]] | None


class Fared(NamedTuple):
    """What became of an item, and what would have."""

    was: str | None
    """The verdict that decided what became of it; None: the record does not tell."""
    was_at: str
    now: str
    """The verdict that would have; ``unknown``."""
    now_at: str
    certainty: Certainty
    cause: str | None
    """Why it is not certain."""

    @property
    def changed(self) -> bool:
        """Whether it is known that something else would have become of it."""
        return self.certainty != "unknown" and (self.now, self.now_at) != (self.was, self.was_at)


class ItemAnswer(NamedTuple):
    """The same with the item; ``changed`` as above."""

    item_id: str
    was: str | None
    was_at: str
    now: str
    now_at: str
    certainty: Certainty
    cause: str | None


@dataclass(frozen=True)
class StepAnswer:
    """How many candidates would have gone on from one step."""

    step_id: str
    step: str
    evidence: str
    was: int
    """Recorded decisions that let a candidate go on."""
    low: int
    """At least so many of them would."""
    high: int | None
    """At most so many would; None: candidates that the record does not name may come."""
    expected: int | None
    """So many would, if the steps have no rules but those that the record shows; None: not known."""
    estimate: Estimate | None
    """Of a sampled step: how many of all its candidates."""
    unknown: Mapping[str, int]
    """Cause to the decisions that are not known for it."""


@dataclass(frozen=True)
class Answer:
    """A run under changed rules."""

    rules: Sequence[tuple[Change, Rule | None]]
    steps: Sequence[StepAnswer]
    fared: Mapping[str, Fared]
    """Item to what became of it; items that fared alike share one."""
    by_id: Mapping[str, StepFacts]

    @cached_property
    def items(self) -> Mapping[str, ItemAnswer]:
        """One for each item."""
        return {item: ItemAnswer(item, *fared) for item, fared in self.fared.items()}

    @cached_property
    def alike(self) -> Counter[Fared]:
        """How many items fared so."""
        return Counter(self.fared.values())

    def because(self, item: ItemAnswer) -> list[Cited]:
        """The decisions that the answer on an item rests on."""
        steps = dict.fromkeys((*(change.step_id for change, _ in self.rules), item.was_at, item.now_at))
        return [cited for step_id in steps for cited in cite(self.by_id[step_id], item.item_id)]

    @property
    def counts(self) -> Mapping[Certainty, Counter[str]]:
        """Certainty to what would have become of how many items."""
        found: dict[Certainty, Counter[str]] = {
            "certain": Counter(),
            "assumed": Counter(),
            "unknown": Counter(),
        }
        for fared, items in self.alike.items():
            found[fared.certainty][fared.now] += items
        return found

    @property
    def causes(self) -> Counter[tuple[Certainty, str]]:
        """Certainty and cause to the items of which it is the reason that they are not certain."""
        found: Counter[tuple[Certainty, str]] = Counter()
        for fared, items in self.alike.items():
            if fared.cause is not None:
                found[fared.certainty, fared.cause] += items
        return found


def replay(steps: Sequence[StepFacts], changes: Sequence[Change]) -> Answer:
    """Return what the run would have decided. Raises ``rules.NoSuchRule``."""
    same = unchanged(steps, changes)
    before = rerun(steps, [], True, same)
    certain = rerun(steps, changes, False, same)
    # Where nothing is left open, nothing is left to assume.
    assumed = certain if certain.is_whole else rerun(steps, changes, True, same)
    by_id = {step.step_id: step for step in steps}
    fared = cache(_fared)
    items = {
        item: fared(before.fates[item], fate, assumed.fates[item]) for item, fate in certain.fates.items()
    }
    told = [_step(certain.steps[s.step_id], assumed.steps[s.step_id]) for s in steps[len(same.steps) :]]
    rules = [
        (change, None if change.top_k is not None else find_rule(by_id[change.step_id], change.rule, True))
        for change in changes
    ]
    return Answer(rules, told, items, by_id)


def cite(step: StepFacts, item_id: str) -> list[Cited]:
    """Return the step's decisions about an item."""
    return [
        Cited(
            step.step_id,
            step.name,
            item_id,
            d.verdict,
            d.reason,
            d.score,
            d.value,
            d.threshold,
            d.value_missing,
            d.checks,
        )
        for d in (step.decisions[place] for place in step.by_item.get(item_id, ()))
    ]


def certainty_of(certain: Fate, assumed: Fate) -> tuple[str, str, Certainty, str | None]:
    """What became of an item by the surest of the two passes: verdict, step, certainty, cause."""
    if certain.word is not None:
        return certain.word, certain.step_id, "certain", None
    if assumed.word is not None:
        return assumed.word, assumed.step_id, "assumed", certain.cause
    return "unknown", assumed.step_id, "unknown", assumed.cause or certain.cause


def _fared(before: Fate, certain: Fate, assumed: Fate) -> Fared:
    now, at, certainty, cause = certainty_of(certain, assumed)
    return Fared(before.word, before.step_id, now, at, certainty, cause)


def _step(certain: Replayed, assumed: Replayed) -> StepAnswer:
    step = certain.step
    rows = Counter(zip(certain.arrives, certain.verdicts, strict=True))
    low = sum(n for (arrives, verdict), n in rows.items() if arrives and verdict.passes)
    high = sum(
        n for (arrives, verdict), n in rows.items() if arrives is not False and verdict.passes is not False
    )
    guessed = list(map(_goes_on, assumed.arrives, assumed.verdicts))
    whole = None not in guessed and not assumed.newcomers
    causes = Counter[str]()
    for (arrives, verdict), n in rows.items():
        if _goes_on(arrives, verdict) is None:
            causes["arrival" if arrives is None else verdict.cause or "not_evaluated"] += n
    sampled = step.evidence == "sampled" and whole and all(assumed.arrives)
    return StepAnswer(
        step.step_id,
        step.name,
        step.evidence,
        sum(step.passes),
        low,
        None if certain.hidden or step.evidence != "full" else high + len(certain.newcomers),
        sum(bool(passes) for passes in guessed) if whole and not assumed.hidden else None,
        _estimated(step, guessed) if sampled else None,
        dict(causes),
    )


@cache
def _goes_on(arrives: bool | None, verdict: Verdict) -> bool | None:
    """Whether a candidate arrives and goes on."""
    if arrives is None or (arrives and verdict.passes is None):
        return None
    return bool(arrives and verdict.passes)


def _estimated(step: StepFacts, passes: Sequence[bool | None]) -> Estimate:
    """How many of all candidates, from those that were kept as a sample (decision 0024)."""
    return estimate(
        Observed((d.verdict, d.reason), 1.0 if d.probability is None else d.probability, 1.0 if on else None)
        for d, on in zip(step.decisions, passes, strict=True)
    ).number


def passes_at(run: Rerun, step_id: str, item_id: str) -> bool | None:
    """Whether the step lets the item go on, if it arrives."""
    replayed = run.steps[step_id]
    said = [replayed.verdicts[place].passes for place in replayed.step.by_item.get(item_id, ())]
    return said[0] if said and all(passes is said[0] for passes in said) else None
