"""The comparison of two runs, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from api.compare.alignment import align
from api.compare.divergence import diff_steps, first_divergence
from api.compare.items import equal
from api.compare.records import Diff, Difference, Divergence, Side, StepDiff, StepPair
from api.compare.steps import judged_items
from api.explain.audit import SETTLED_RUNS
from api.explain.funnel import last_attempts
from store.queries.types import RunRecord, StepRecord

_IDENTITY = (
    *("pipeline", "pipeline_version", "entity", "status", "outcome", "outcome_reason", "environment"),
    *("service_name", "schema_id", "schema_version", "capture_level", "error_type", "error_message"),
)
_DOCUMENTS = ("input", "output")


def diff(a: Side, b: Side) -> Diff:
    """
    Compare two runs.

    ``diff(b, a)`` is the same with ``a`` and ``b`` turned. Of a retried step the last attempt counts.
    """
    steps = diff_steps(_pairs(a, b), a, b)
    differences = [*_run_differences(a.detail.run, b.detail.run), *_attempts(a, b, steps)]
    first = first_divergence(steps)
    decided = first_divergence(steps, decided=True)
    changed: Counter[str] = Counter()
    for step in steps:
        changed.update(step.items.changed)
    same = not differences and all(_is_same(step) for step in steps)
    whole = a is b or (all(map(_whole_pair, steps)) and _is_final(a) and _is_final(b))
    return Diff(
        a=a.detail,
        b=b.detail,
        same=same,
        whole=whole,
        differences=differences,
        steps=steps,
        first_divergence=first,
        first_decision_change=None if decided == first else decided,
        changed=dict(sorted(changed.items())),
        summary=_summary(differences, steps, first, decided, same=same, whole=whole),
    )


def _pairs(a: Side, b: Side) -> list[StepPair]:
    mine, others = last_attempts(a.detail.steps), last_attempts(b.detail.steps)
    known = {id(step): frozenset(judged_items(step, a)) for step in mine}
    known |= {id(step): frozenset(judged_items(step, b)) for step in others}
    return align(mine, others, lambda step: known[id(step)])


def _is_same(step: StepDiff) -> bool:
    return step.standing in ("same", "unknown") and not step.differences and not step.pair.renamed


def _whole_pair(step: StepDiff) -> bool:
    parts = (step.pair.a, step.pair.b)
    return step.whole and all(part is None or part.completeness.metrics == "exact" for part in parts)


def _is_final(side: Side) -> bool:
    """Whether the run has ended and each of its steps was stored and read."""
    run = side.detail.run
    lost = any(entry.what in ("runs", "steps") for entry in run.completeness.missing)
    return run.status in SETTLED_RUNS and run.steps_count <= len(side.detail.steps) and not lost


def _run_differences(a: RunRecord, b: RunRecord) -> Iterable[Difference]:
    for name in (*_IDENTITY, *_DOCUMENTS):
        one, other = getattr(a, name), getattr(b, name)
        if not equal(one, other):
            yield Difference(name, one, other)
    for name in sorted(a.tags.keys() | b.tags.keys()):
        if a.tags.get(name) != b.tags.get(name):
            yield Difference(f"tags.{name}", a.tags.get(name), b.tags.get(name))


def _attempts(a: Side, b: Side, steps: Sequence[StepDiff]) -> Iterable[Difference]:
    """Steps that were tried more often in one run; what the last attempt decided is compared anyway."""
    of_a, of_b = _tries(a.detail.steps), _tries(b.detail.steps)
    for step in steps:
        if step.pair.a is not None and step.pair.b is not None:
            one, other = of_a[step.pair.a.step_id], of_b[step.pair.b.step_id]
            if one != other:
                yield Difference(f"attempts.{step.name}", one, other)


def _tries(steps: Sequence[StepRecord]) -> Counter[str]:
    return Counter(step.step_id for step in steps)


def _summary(
    differences: Sequence[Difference],
    steps: Sequence[StepDiff],
    first: Divergence | None,
    decided: Divergence | None,
    *,
    same: bool,
    whole: bool,
) -> list[str]:
    said = []
    if same:
        said.append("The two runs do not differ." if whole else "No difference is recorded.")
    if differences:
        said.append("The runs themselves differ in " + ", ".join(map(_one, differences[:8])) + ".")
    if first is not None:
        said.append(f"First divergence: {first.text}.")
        if decided is None:
            said.append("No decision differs.")
        elif decided != first:
            said.append(f"First other decision: {decided.text}.")
    elif not same:
        said.append("No step did something else with what it received.")
    following = [step.name for step in steps if step.standing == "follows"]
    if following:
        said.append(f"{', '.join(following)} differ{'s' * (len(following) == 1)} after it.")
    unknown = [step.name for step in steps if step.standing == "unknown"]
    if unknown:
        said.append(f"Not each decision was recorded of {', '.join(unknown)}: its counts are equal.")
    renamed = [step.name for step in steps if step.pair.renamed]
    if renamed:
        said.append(f"Called otherwise: {', '.join(renamed)}.")
    return said


def _one(difference: Difference) -> str:
    if difference.field in _DOCUMENTS:
        return difference.field
    return f"{difference.field} ({_shown(difference.a)} → {_shown(difference.b)})"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
