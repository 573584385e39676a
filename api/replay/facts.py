"""What replay knows of a run: its steps in order, with their decisions and what they declare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from itertools import compress
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

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
    """What each rule makes of a missing value."""
    missing_by_rule: Mapping[str, str] = field(default_factory=dict)
    """Rule to what it makes of one; where a check has such a word, a value of null is missing."""

    def of_missing(self, rule: str | None) -> str | None:
        """What the rule makes of a missing value: ``passes``, ``fails``."""
        return self.missing_by_rule.get(rule or "", self.missing)


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
    found: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was already found of it (``once``)."""

    @cached_property
    def items(self) -> Sequence[str]:
        """Per decision the item's id."""
        return [d.item_id for d in self.decisions]

    @cached_property
    def passes(self) -> Sequence[bool]:
        """Per decision whether the item goes on, as recorded."""
        return [d.verdict in PASSING for d in self.decisions]

    @cached_property
    def verdicts(self) -> frozenset[str]:
        """Those that were given."""
        return frozenset(d.verdict for d in self.decisions)

    @cached_property
    def by_item(self) -> Mapping[str, Sequence[int]]:
        """Item id to the places of its decisions."""
        single = dict(zip(self.items, zip(range(len(self.items)), strict=True), strict=True))
        if len(single) == len(self.items):
            return single
        found: defaultdict[str, list[int]] = defaultdict(list)
        for place, item in enumerate(self.items):
            found[item].append(place)
        return dict(found)

    @cached_property
    def passed(self) -> frozenset[str]:
        """Items of which a decision goes on, as recorded."""
        return frozenset(compress(self.items, self.passes))

    @property
    def cuts(self) -> bool:
        """Whether it keeps a number of candidates, however good the others are."""
        return (
            self.step_type in ("rank", "select") or self.top_k is not None or "not_selected" in self.verdicts
        )

    @cached_property
    def looks_at_others(self) -> bool:
        """Whether the record shows that a verdict depends on the other candidates."""
        return self.declared.item_independent is False or not self.verdicts.isdisjoint(("merged", "deferred"))


_P = ParamSpec("_P")
_T = TypeVar("_T")


def once(ask: Callable[Concatenate[StepFacts, _P], _T]) -> Callable[Concatenate[StepFacts, _P], _T]:
    """A question about a step that is answered once: each walks over all of its decisions."""

    @wraps(ask)
    def answered(step: StepFacts, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (ask, args, tuple(kwargs.items()))
        try:
            return step.found[key]  # type: ignore[no-any-return]
        except KeyError:
            found = step.found[key] = ask(step, *args, **kwargs)
            return found

    return answered


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
