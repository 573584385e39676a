"""What replay knows of a run: its steps in order, with their decisions and what they declare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from store.decisions import Decision

PASSING = frozenset(("kept", "scored", "selected"))
"""Verdicts with which a candidate goes on (contract: Counts)."""
Evidence = Literal["full", "sampled", "partial", "none"]


@dataclass(frozen=True)
class Declared:
    """What the step says of its rules (decision 0041); None and empty: nothing."""

    evaluation: str | None = None
    item_independent: bool | None = None
    comparators: Mapping[str, str] = field(default_factory=dict)
    missing: str | None = None


@dataclass(frozen=True)
class StepFacts:
    """One step that judged candidates, by its last attempt."""

    step_id: str
    name: str
    step_type: str
    attempt: int
    decisions: Sequence[Decision]
    evidence: Evidence
    feeds: Sequence[str] = ()
    """Ids of the steps that handed over to it, empty where that is not known or it is a source."""
    says_feeds: bool = False
    """Whether it declared them."""
    is_source: bool = False
    """It took in no candidates."""
    trouble: str | None = None
    """A cause (``causes.py``) for which nothing of the step can be replayed."""
    top_k: int | None = None
    reasons: frozenset[str] = frozenset()
    """Codes that it gave or can give."""
    declared: Declared = Declared()

    @cached_property
    def by_item(self) -> Mapping[str, Sequence[int]]:
        """Item id to the places of its decisions."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for place, decision in enumerate(self.decisions):
            found[decision.item_id].append(place)
        return dict(found)

    @cached_property
    def passed(self) -> frozenset[str]:
        """Items of which a decision goes on, as recorded."""
        return frozenset(d.item_id for d in self.decisions if d.verdict in PASSING)

    @property
    def cuts(self) -> bool:
        """Whether it keeps a number of candidates, however good the others are."""
        return (
            self.step_type in ("rank", "select")
            or self.top_k is not None
            or any(d.verdict == "not_selected" for d in self.decisions)
        )

    @cached_property
    def looks_at_others(self) -> bool:
        """Whether the record shows that a verdict depends on the other candidates."""
        return self.declared.item_independent is False or any(
            d.verdict in ("merged", "deferred") for d in self.decisions
        )


@dataclass(frozen=True)
class Change:
    """
    One change of a step: another threshold, a rule left out, or another number to keep.

    rule: a reason, or the name of a check; None: the only one. Exactly one of threshold, scale,
    remove and top_k is given.
    """

    step_id: str
    rule: str | None = None
    threshold: float | int | None = None
    scale: float | None = None
    """What each candidate's own threshold is multiplied with."""
    remove: bool = False
    top_k: int | None = None
