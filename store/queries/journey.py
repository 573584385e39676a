"""The way of one item through the steps of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from store.decisions import Decision, about, rows, unpack
from store.ids import run_key
from store.queries.chunks import may_name, readable
from store.queries.decisions import decision_record
from store.queries.outcomes import of_item
from store.queries.steps import named_steps_of_run, steps_of_run
from store.queries.types import RunRecord, StepRecord
from store.queries.types_decisions import Journey, JourneyStep
from store.queries.types_outcomes import OutcomeRecord
from store.schema import decisions, runs

_CHUNKS_AT_ONCE = 16

StepKey = tuple[str, str]
"""(step_id, attempt_key)."""


def item_journeys(connection: Connection, run: RunRecord, item_ids: Sequence[str]) -> Mapping[str, Journey]:
    """
    Return what each step of the run decided about the items; without those that no stored decision names.

    Opens the chunks of the run that may name one of them, once for all: half a millisecond per 5,000
    candidates.
    """
    named = _decisions_about(connection, run.run_id, frozenset(item_ids))
    known = {item_id: of_item(connection, [run.run_id], item_id).get(run.run_id, ()) for item_id in named}
    steps = steps_of_run(connection, run.run_id)
    shown = {(step.step_id, step.attempt_key) for step in steps}
    chances = _chances(connection, run.run_id, [s for s in steps if s.completeness.evidence == "sampled"])
    found = {}
    for item_id, decided in named.items():
        later = named_steps_of_run(connection, run.run_id, decided.keys() - shown)
        found[item_id] = _journey(run, item_id, [*steps, *later], decided, chances, known[item_id])
    return {item_id: journey for item_id, journey in found.items() if journey is not None}


def _journey(
    run: RunRecord,
    item_id: str,
    of_run: Sequence[StepRecord],
    named: Mapping[StepKey, Sequence[Decision]],
    chances: Mapping[StepKey, float],
    outcomes: Sequence[OutcomeRecord],
) -> Journey | None:
    steps = [_journey_step(step, named, chances) for step in of_run]
    judged = [step for step in steps if step.decisions]
    if not judged:
        return None
    last = judged[-1]
    return Journey(
        run_id=run.run_id,
        item_id=item_id,
        final_verdict=last.decisions[-1].verdict,
        final_step_id=last.step.step_id,
        steps=steps,
        completeness=run.completeness,
        outcomes=outcomes,
    )


def _journey_step(
    step: StepRecord, named: Mapping[StepKey, Sequence[Decision]], chances: Mapping[StepKey, float]
) -> JourneyStep:
    judged = [
        decision_record(decision, step.attempt)
        for decision in named.get((step.step_id, step.attempt_key), ())
    ]
    if judged:
        return JourneyStep(step, "recorded", judged)
    if step.completeness.evidence == "full":
        return JourneyStep(step, "absent", [])
    return JourneyStep(step, "unknown", [], chances.get((step.step_id, step.attempt_key)))


def _chances(connection: Connection, run_id: str, sampled: Sequence[StepRecord]) -> Mapping[StepKey, float]:
    """Return the smallest probability with which each of these steps kept a decision."""
    if not sampled:
        return {}
    day = select(runs.c.run_day).where(runs.c.run_key == run_key(run_id)).scalar_subquery()
    chunks = connection.execute(
        select(decisions.c.step_id, decisions.c.attempt_key, decisions.c.data).where(
            decisions.c.run_key == run_key(run_id),
            decisions.c.run_day == day,
            decisions.c.step_id.in_({step.step_id for step in sampled}),
            readable(decisions),
        ),
        execution_options={"yield_per": _CHUNKS_AT_ONCE},
    )
    found: dict[StepKey, float] = {}
    for chunk in chunks:
        column = unpack(chunk.data).probability
        given = [p for p in (column if isinstance(column, list) else [column]) if isinstance(p, int | float)]
        key = (chunk.step_id, chunk.attempt_key)
        if given:
            found[key] = min(found.get(key, 1.0), *given)
    return found


def _decisions_about(
    connection: Connection, run_id: str, item_ids: frozenset[str]
) -> Mapping[str, Mapping[StepKey, Sequence[Decision]]]:
    """Return the decisions that name an item, per item and step attempt, in the order they were judged."""
    day = select(runs.c.run_day).where(runs.c.run_key == run_key(run_id)).scalar_subquery()
    chunks = connection.execute(
        select(decisions.c.step_id, decisions.c.attempt_key, decisions.c.data)
        .where(
            decisions.c.run_key == run_key(run_id),
            decisions.c.run_day == day,
            may_name(decisions, item_ids),
            readable(decisions),
        )
        .order_by(decisions.c.step_id, decisions.c.attempt_key, decisions.c.chunk_index),
        execution_options={"yield_per": _CHUNKS_AT_ONCE},
    )
    named: dict[str, dict[StepKey, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for chunk in chunks:
        columns = unpack(chunk.data)
        for decision in rows(about(columns, item_ids)):
            named[decision.item_id][chunk.step_id, chunk.attempt_key].append(decision)
    return named
