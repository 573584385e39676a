"""Filter, rank and select that record as they work."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

from xray_otel._columns import ELIMINATED, KEPT, NOT_SELECTED, SELECTED
from xray_otel._encode import MISSING
from xray_otel._figures import number
from xray_otel._item_ids import Key
from xray_otel._judging import Check
from xray_otel._recording import Recording

Item = TypeVar("Item")
Comparator = Literal["<", "<=", ">", ">=", "==", "!="]
"""What holds between value and threshold of a candidate that passes."""


# NamedTuples, because one is made per candidate: 0.6 us where a frozen dataclass takes 1.3.
class Accept(NamedTuple):
    """What a predicate of ``step.filter`` returns to keep a candidate and say why. It is true."""

    code: str | None = None
    value: Any = None
    threshold: Any = None
    text: str | None = None
    score: float | None = None
    checks: tuple[Check, ...] | list[Check] | None = None

    def __bool__(self) -> bool:
        return True


class Reject(NamedTuple):
    """What a predicate of ``step.filter`` returns to remove a candidate and say why. It is false."""

    code: str
    value: Any = None
    threshold: Any = None
    text: str | None = None
    score: float | None = None
    checks: tuple[Check, ...] | list[Check] | None = None

    def __bool__(self) -> bool:
        return False


_SAYING = (Accept, Reject)
_HOLDS: Final[Mapping[object, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class _Comparison(NamedTuple):
    """One rule that the client itself compared by."""

    reason: str
    sign: str
    judged: int
    exact: bool
    """Whether all that was compared is recorded digit by digit."""


class Operations(Recording):
    """
    The working part of a step.

    These give the same result whether X-Ray is on, off or broken. What the pipeline's own
    functions raise goes through unchanged.
    """

    __slots__ = ("_asked_for", "_compared", "_ranked")

    _asked_for: int | None
    _compared: list[_Comparison]
    """For each filter that compared by itself."""
    _ranked: int
    """Candidates of the first ranking, 0 before it."""

    def filter(
        self,
        items: Iterable[Item],
        predicate: Callable[[Item], object] | None = None,
        *,
        key: Key = None,
        value: Callable[[Item], Any] | None = None,
        comparator: Comparator | None = None,
        threshold: Any = None,
        reason: str = "rejected",
    ) -> list[Item]:
        """
        The items that pass, in their order; each decision is recorded.

        Either ``predicate``, as for Python's ``filter`` (None is false), or a function that returns
        ``Reject("code", …)`` and ``Accept("code", …)``, which carry reason, value, threshold and text
        themselves. Then value, a function from the item to what was compared, and threshold, what with,
        are for the record alone, for results that do not carry them.

        Or no predicate, but ``comparator`` (``<``, ``<=``, ``>``, ``>=``, ``==``, ``!=``): those pass of
        which the value stands so to the threshold, and not those whose value is None, NaN or ``MISSING``.
        That declares the rule (``declare``), the item's value as one that does not depend on other items
        included.

        reason: code of rejections that do not carry one.

        With both, the predicate decides and the comparator is misuse. Raises TypeError in each mode when
        nothing says what passes: neither, or a comparator that is none of these.
        """
        if predicate is None:
            holds = None if threshold is None else _HOLDS.get(comparator)
            if holds is None or value is None or comparator is None:
                raise TypeError("filter takes a predicate, or value, comparator (such as <=) and threshold")
            return self._compare(items, value, comparator, threshold, key, reason)
        if comparator is not None:
            self._complain("filter takes a predicate or a comparator, not both; the predicate decides")
        if not self._touch():
            return [item for item in items if predicate(item)]
        passed: list[Item] = []
        for item in items:
            outcome = predicate(item)
            verdict = ELIMINATED
            if outcome:
                passed.append(item)
                verdict = KEPT
            # By its type, because isinstance also asks the outcome, which may be a proxy that raises.
            if issubclass(type(outcome), _SAYING):
                said = cast(Accept | Reject, outcome)
                observed = self._read(value, item) if said.value is None else said.value
                limit = threshold if said.threshold is None else said.threshold
                self._judge(
                    verdict, item, said.code, said.text, said.score, observed, limit, key, said.checks
                )
            else:
                code = None if verdict is KEPT else reason
                observed = None if value is None else self._read(value, item)
                self._judge(verdict, item, code, None, None, observed, threshold, key, None)
        return passed

    def _compare(
        self,
        items: Iterable[Item],
        value: Callable[[Item], Any],
        sign: Comparator,
        threshold: Any,
        key: Key,
        reason: str,
    ) -> list[Item]:
        """Compares by itself, so that what is said of the rule is so by construction (decision 0041)."""
        holds, hears = _HOLDS[sign], self._touch()
        passed: list[Item] = []
        judged, exact = 0, _is_exact(threshold)
        for item in items:
            found = value(item)
            kind = type(found)
            missing = found is None or found is MISSING or (kind is float and found != found)
            goes_on = not missing and bool(holds(found, threshold))
            if goes_on:
                passed.append(item)
            if hears:
                verdict, code = (KEPT, None) if goes_on else (ELIMINATED, reason)
                observed = MISSING if missing else found
                self._judge(verdict, item, code, None, None, observed, threshold, key, None)
                judged += 1
                exact = exact and (missing or kind is float or _is_exact(found))
        if hears and type(reason) is str:
            self._compared.append(_Comparison(reason, sign, judged, exact))
        return passed

    def rank(
        self,
        items: Iterable[Item],
        score: Callable[[Item], Any],
        *,
        top_k: int | None = None,
        key: Key = None,
        reason: str = "below_top_k",
        reverse: bool = True,
    ) -> list[Item]:
        """
        The items by descending score, at most ``top_k`` of them; ties keep their order.

        Items without a score (None or not a number) come last. Recorded in this order: the
        first ``top_k`` as kept, the others as not selected with ``reason``.
        ``reverse=False`` ranks by ascending score.
        """
        ranked = _ranked(items, score, reverse)
        limit = len(ranked) if top_k is None else max(0, top_k)
        if self._touch():
            self._asked_for = top_k
            self._ranked = self._ranked or len(ranked)
            for at, (figure, item) in enumerate(ranked):
                verdict, code = (KEPT, None) if at < limit else (NOT_SELECTED, reason)
                self._judge(verdict, item, code, None, figure, None, None, key, None)
        return [item for _, item in ranked[:limit]]

    def select_best(
        self,
        items: Iterable[Item],
        score: Callable[[Item], Any],
        *,
        key: Key = None,
        reason: str = "best_score",
        other_reason: str = "lower_score",
    ) -> Item | None:
        """
        The item with the highest score, or None of none; the first of equal ones.

        Recorded by descending score: the best as selected, the others as not selected.
        """
        ranked = _ranked(items, score, reverse=True)
        if self._touch():
            self._ranked = self._ranked or len(ranked)
            for at, (figure, item) in enumerate(ranked):
                verdict, code = (NOT_SELECTED, other_reason) if at else (SELECTED, reason)
                self._judge(verdict, item, code, None, figure, None, None, key, None)
        return ranked[0][1] if ranked else None

    def _touch(self) -> bool:
        """Whether to record; then no candidates at all are recorded as 0."""
        if self._hears():
            self._recording().touched = True
        return self._active

    def _read(self, value: Callable[[Item], Any] | None, item: Item) -> Any:
        """What was compared, for the record only: the function's failure is not the pipeline's."""
        if value is None:
            return None
        try:
            return value(item)
        except Exception as error:  # noqa: BLE001 - called for the record alone
            self._guard.failed("step.filter: value", error)
            return None


def _ranked(
    items: Iterable[Item], score: Callable[[Item], Any], reverse: bool
) -> list[tuple[float | None, Item]]:
    """(score, item) pairs in rank order; those without a score last."""
    scored = [(number(score(item)), item) for item in items]
    sign = -1.0 if reverse else 1.0
    scored.sort(key=lambda pair: math.inf if pair[0] is None else sign * pair[0])
    return scored


def _is_exact(compared: Any) -> bool:
    """Whether a number is recorded digit by digit: a whole one beyond 64 bits is not."""
    kind = type(compared)
    return kind is float or (kind is int and -(2**63) <= compared < 2**63)
