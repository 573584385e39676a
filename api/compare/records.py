"""
What the comparison of two runs consists of. Everything stands in pairs, what is ``a``'s and what is
``b``'s, so that the comparison the other way round is the same with the pairs turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from store.decisions import Decision
from store.queries.types import RunDetail, StepRecord

Standing = Literal["same", "differs", "follows", "only_a", "only_b", "unknown"]
"""
``same``: nothing differs in what the two decided, as far as was recorded. ``differs``: it did something
else with what it received. ``follows``: it differs, and so did a step that it takes its candidates from.
``unknown``: its record shows the same counts, and not each decision.
"""

Kind = Literal[
    "config", "step", "status", "candidates", "verdicts", "scores", "values", "counts", "fields", "output"
]
"""
In what a step differs, the most telling first: its configuration (threshold, model …); it is there in one
run only; error; it received others than were let through before it; verdicts or reasons, scores or
observed values of items that both received; counts; statistics of fields; output.
"""

Change = Literal["verdict", "reason", "score", "rank", "value", "only_a", "only_b"]


@dataclass(frozen=True, slots=True)
class Side:
    """One run with its decisions."""

    detail: RunDetail
    decisions: Mapping[tuple[str, str], Sequence[Decision]]
    """By step id and key of the attempt."""
    unread: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field with another value."""

    field: str
    a: Any
    """Null where the run does not have it."""
    b: Any


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a step decided about an item in one run."""

    verdict: str
    reason: str | None
    score: float | None
    rank: int | None
    """By score among the candidates of the step, from 1, the largest first; equal scores share it."""
    value: Any
    threshold: Any
    value_missing: bool


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item about which a step decided otherwise."""

    item_id: str
    changed: Sequence[Change]
    a: Judgement | None
    """Null when the step of this run did not judge the item."""
    b: Judgement | None


@dataclass(frozen=True, slots=True)
class ItemChanges:
    """What became of the items of a step, in numbers."""

    both: int
    """Judged in both runs, as far as was recorded."""
    total: int
    """That differ; of these …"""
    changed: Mapping[str, int]
    """… by kind of change the number that have it; without kinds that none has."""
    examples: Sequence[ItemChange]
    """The first by kind, then by item id."""


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step of each run that are the same step, or one that the other run does not have."""

    a: StepRecord | None
    b: StepRecord | None
    renamed: bool = False


@dataclass(frozen=True, slots=True)
class StepDiff:
    """How one step differs."""

    place: int
    """From 0, in the order of both runs."""
    pair: StepPair
    standing: Standing
    kinds: Sequence[Kind]
    """In what it differs beyond what it received, or at all where that is not known."""
    received: Literal["same", "other", "unknown"]
    config: Sequence[Difference]
    differences: Sequence[Difference]
    """Counts, reasons, scores, fields, metrics, status."""
    items: ItemChanges
    evidence: Literal["full", "sampled", "partial", "none"]
    """The lesser of both."""
    whole: bool
    """Whether all that it decided is there in both runs: else it may differ in more."""
    by_value: bool = False
    """What it decided differs for items alone of which it also observed another value."""

    @property
    def name(self) -> str:
        """As it is called; in both ways where the names differ."""
        a, b = self.pair.a, self.pair.b
        names = [step.name for step in (a, b) if step is not None]
        return names[0] if len(set(names)) == 1 else " / ".join(names)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first step that did something else."""

    place: int
    step: str
    step_id_a: str | None
    step_id_b: str | None
    kind: Kind
    certain: bool
    """False when the record cannot tell whether an earlier step already differed: ``possible_steps``."""
    possible_steps: Sequence[str]
    """Names of the steps among which it lies, in order; one when certain."""
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """How two runs differ."""

    a: RunDetail
    b: RunDetail
    same: bool
    """Nothing that was recorded differs, but ids and times."""
    whole: bool
    """Each decision of each step of both was recorded and read, so that ``same`` is certain."""
    differences: Sequence[Difference]
    """Of the runs themselves: version, tags, input, outcome …"""
    steps: Sequence[StepDiff]
    first_divergence: Divergence | None
    first_decision_change: Divergence | None
    """The first step whose decisions differ, where ``first_divergence`` is a change without effect."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Kind of change to the number of items over all steps."""
    summary: Sequence[str] = ()
