"""
How each kind of step decides.

Each has its trap for whoever judges by the record alone: rules that reject nobody, values that count other
candidates or add them up, thresholds that follow from the slate, second rules inside of a predicate, rules
of which one is enough, missing values taken for 0, checks made of each of several offers, scores held
against a limit of which the record says nothing.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.replay.steps import SIGNS, Changed, Item, Row, Rule, Setting, Step


def judge(step: Step, slate: Sequence[Item], changed: Changed) -> list[Row]:
    """What the step decides about the slate under the changed rules."""
    return list(_KINDS[step.kind](step, slate, _Limits(step, changed)))


class _Limits:
    def __init__(self, step: Step, changed: Changed) -> None:
        self._step, self._changed = step, changed
        self.rules = [rule for rule in step.rules if not self._of(rule.name).remove]

    def _of(self, rule: str | None) -> Setting:
        return self._changed.get((self._step.name, rule), Setting())

    def limit(self, rule: Rule, own: float = 1.0) -> float | int:
        base = rule.threshold if own == 1.0 else rule.threshold * own
        return self._of(rule.name).of(base)

    def derived(self, rule: Rule, base: float) -> float | int:
        return self._of(rule.name).of(base)

    @property
    def top_k(self) -> int | None:
        asked = self._of(None).top_k
        return self._step.top_k if asked is None else asked


def _seen(rule: Rule, item: Item, limit: float | int) -> dict[str, Any]:
    value = rule.observed(item)
    return {"value": value, "threshold": limit, "missing": value is None}


def _source(step: Step, _slate: Sequence[Item], _limits: _Limits) -> Iterator[Row]:
    for item in step.items:
        yield Row(item, "kept")


def _in_turn(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """Rule after rule, up to the first that fails."""
    for item in slate:
        row, made = Row(item, "kept"), []
        for rule in limits.rules:
            limit = limits.limit(rule)
            passed = rule.says(item, limit)
            seen = _seen(rule, item, limit)
            made.append({"name": rule.name, "passed": passed} | seen)
            if not passed:
                row = Row(item, "eliminated", rule.name, **seen)
                break
            if step.records == "all" or (step.records == "first" and len(made) == 1):
                row = Row(item, "kept", **seen)
        yield row._replace(checks=made)


def _every(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """All rules, whatever they say; the reason is the first that failed."""
    for item in slate:
        made: list[dict[str, Any]] = []
        for rule in limits.rules:
            limit = limits.limit(rule)
            made.append({"name": rule.name, "passed": rule.says(item, limit)} | _seen(rule, item, limit))
        failed = [check["name"] for check in made if not check["passed"]]
        verdict, reason = ("eliminated", failed[0]) if failed else ("kept", None)
        yield Row(item, verdict, reason, checks=made)


def _offers(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """All rules on each of two offers of a candidate: checks of one name twice."""
    for item in slate:
        fields = {n: v if v is None else v * 3 // 4 + 10 for n, v in item.fields.items()}
        made: list[dict[str, Any]] = []
        for rule in limits.rules:
            limit = limits.limit(rule)
            for offer in (item, item._replace(fields=fields))[: 1 + zlib.crc32(item.id.encode()) % 2]:
                passed = rule.says(offer, limit)
                made.append({"name": rule.name, "passed": passed} | _seen(rule, offer, limit))
        failed = [check["name"] for check in made if not check["passed"]]
        verdict, reason = ("eliminated", failed[0]) if failed else ("kept", None)
        yield Row(item, verdict, reason, checks=made)


def _good(_step: Step, slate: Sequence[Item], _limits: _Limits) -> Iterator[Row]:
    """Those whose score is good enough; the others are told as not selected."""
    for item in sorted(slate, key=lambda item: -(score_of(item) or 0.0)):
        score = score_of(item) or 0.0
        yield Row(item, "kept" if score >= 4 else "not_selected", score=score)


def _veiled(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """A predicate of two rules, told as if the first were all."""
    shown = _step.rules[0]
    for item in slate:
        passed = all(rule.says(item, limits.limit(rule)) for rule in limits.rules)
        verdict, reason = ("kept", None) if passed else ("eliminated", shown.name)
        yield Row(item, verdict, reason, **_seen(shown, item, limits.limit(shown)))


def _any_of(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """All checks are made and told, and one that passes is enough."""
    for item in slate:
        made: list[dict[str, Any]] = []
        for rule in _step.rules:
            limit = limits.limit(rule)
            passed = rule not in limits.rules or rule.says(item, limit)
            made.append({"name": rule.name, "passed": passed} | _seen(rule, item, limit))
        passed = any(check["passed"] for check in made)
        yield Row(item, "kept" if passed else "eliminated", None if passed else "none_of", checks=made)


def _budget(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """As long as the sum of what was kept stays within; the value is the sum."""
    total = 0.0
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule)
            value = item.fields[rule.field]
            then = total + (0.0 if value is None or math.isnan(value) else value)
            verdict, reason = ("kept", None) if SIGNS[rule.sign](then, limit) else ("eliminated", rule.name)
            row = Row(item, verdict, reason, value=then, threshold=limit)
            total = then if row.verdict == "kept" else total
        yield row


def _own(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """One rule with a limit of each candidate's own."""
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule, 1.0 + zlib.crc32(item.id.encode()) % 5 / 8)
            passed = rule.says(item, limit)
            verdict, reason = ("kept", None) if passed else ("eliminated", rule.name)
            row = Row(item, verdict, reason, **_seen(rule, item, limit))
        yield row


def _quota(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """So many of a brand; the value is how many there are already."""
    kept: Counter[str] = Counter()
    for item in slate:
        row = Row(item, "kept")
        for rule in limits.rules:
            limit = limits.limit(rule)
            full = kept[item.brand] >= limit
            verdict, reason = ("eliminated", rule.name) if full else ("kept", None)
            row = Row(item, verdict, reason, value=kept[item.brand], threshold=limit)
        kept[item.brand] += row.verdict == "kept"
        yield row


def _unique(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """After its rules, one of a title; a merge or a rejection without figures."""
    known: dict[str, Item] = {}
    for row in _in_turn(step, slate, limits):
        if row.verdict == "kept" and row.item.title in known:
            if step.declares.get("merges"):
                row = Row(row.item, "merged", "duplicate", value=known[row.item.title].id)
            else:
                row = Row(row.item, "eliminated", "duplicate")
        elif row.verdict == "kept":
            known[row.item.title] = row.item
        yield row


def _enough(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """After its rules, no more than a number."""
    kept = 0
    for row in _in_turn(step, slate, limits):
        if row.verdict == "kept" and kept >= 4 * step.limit:
            row = Row(row.item, "eliminated", "enough")
        kept += row.verdict == "kept"
        yield row


def _average(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """Limits that follow from the slate's mean."""
    for rule in step.rules:
        known = [v for item in slate if (v := item.fields[rule.field]) is not None and not math.isnan(v)]
        limit = limits.derived(rule, math.fsum(known) / len(known) * 1.1 if known else 0.0)
        for item in slate:
            passed = rule not in limits.rules or rule.says(item, limit)
            verdict, reason = ("kept", None) if passed else ("eliminated", rule.name)
            yield Row(item, verdict, reason, **_seen(rule, item, limit))


def _moody(_step: Step, slate: Sequence[Item], _limits: _Limits) -> Iterator[Row]:
    """A model that looks at everybody at once."""
    mood = zlib.crc32("".join(item.id for item in slate).encode())
    for place, item in enumerate(slate):
        passed = (zlib.crc32(item.id.encode()) ^ mood) % 5 > 0
        yield Row(
            item, "kept" if passed else "eliminated", None if passed else "not_relevant", score=place * 0.1
        )


def score_of(item: Item) -> float | None:
    """What a ranking goes by; ties and candidates without a score included."""
    value = item.fields["relevance"]
    return None if value is None or math.isnan(value) else round(value / 10, 1)


def _rank(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """The best by score, ties in their order, those without a score last."""
    ranked = sorted(slate, key=lambda item: -(s if (s := score_of(item)) is not None else -math.inf))
    keeps = len(ranked) if limits.top_k is None else limits.top_k
    won, lost = ("selected", "lower_score") if step.kind == "select" else ("kept", "below_top_k")
    for place, item in enumerate(ranked):
        verdict, reason = (won, None) if place < keeps else ("not_selected", lost)
        yield Row(item, verdict, reason, score=score_of(item))


def _placed(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """As ``_rank``, but told in the order in which they came."""
    verdicts = {id(row.item): row for row in _rank(step, slate, limits)}
    if len(verdicts) < len(slate):  # one item twice
        yield from _rank(step, slate, limits)
    else:
        yield from (verdicts[id(item)] for item in slate)


def _tied(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """As ``_rank``, but equal scores go by a figure that is not told, and are told as they came."""
    hidden = sorted(slate, key=lambda item: zlib.crc32(item.title.encode()))
    won = {id(row.item) for row in _rank(step, hidden, limits) if row.verdict == "kept"}
    if len({id(item) for item in slate}) < len(slate):  # one item twice
        yield from _rank(step, slate, limits)
    else:
        rows = list(_rank(step, slate, limits))
        yield from (row._replace(verdict="kept", reason=None) for row in rows if id(row.item) in won)
        yield from (row._replace(verdict="not_selected") for row in rows if id(row.item) not in won)


def _choosy(step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """The best by score, if it is good enough."""
    for row in _rank(step, slate, limits):
        good = row.verdict == "kept" and (row.score or 0.0) >= 5
        yield row._replace(verdict="selected" if good else "not_selected", reason=None)


def _diverse(_step: Step, slate: Sequence[Item], limits: _Limits) -> Iterator[Row]:
    """The best by score, less 1 for each of the brand that is already taken; records the score alone."""
    left, taken, keeps = list(slate), Counter[str](), limits.top_k or 0
    for _ in range(min(keeps, len(left))):
        best = max(left, key=lambda item: (score_of(item) or 0.0) - taken[item.brand])
        left.remove(best)
        taken[best.brand] += 1
        yield Row(best, "kept", score=score_of(best))
    for item in left:
        yield Row(item, "not_selected", "below_top_k", score=score_of(item))


_KINDS: Mapping[str, Callable[[Step, Sequence[Item], _Limits], Iterator[Row]]] = {
    "source": _source,
    "compared": _in_turn,
    "single": _in_turn,
    "veiled": _veiled,
    "hand": _in_turn,
    "in_turn": _in_turn,
    "checks_in_turn": _in_turn,
    "checks_all": _every,
    "any_of": _any_of,
    "offers": _offers,
    "good": _good,
    "budget": _budget,
    "own": _own,
    "quota": _quota,
    "unique": _unique,
    "enough": _enough,
    "average": _average,
    "moody": _moody,
    "rank": _rank,
    "select": _rank,
    "placed": _placed,
    "tied": _tied,
    "choosy": _choosy,
    "diverse": _diverse,
}
INDEPENDENT = (
    "compared",
    "single",
    "veiled",
    "hand",
    "in_turn",
    "checks_in_turn",
    "checks_all",
    "any_of",
    "offers",
    "own",
)
"""Kinds that judge each candidate by itself."""
