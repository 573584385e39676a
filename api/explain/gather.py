"""Reads what an explanation needs; the only part of it that asks the store."""

from __future__ import annotations

from collections.abc import Sequence

from api.explain.audit import audit
from api.explain.funnel import last_attempts
from api.explain.records import Material
from api.explain.stories import best_rival, deciding_step, lost_items
from store.queries.conditions import Condition
from store.queries.filters import Filters, PageRequest
from store.queries.types import DecisionRecord, RunDetail, StepRecord
from store.reader import Reader

MAX_DECISIONS = 10_000
"""Decisions of one step that are looked through for the runner-up or for lost items."""


def gather(reader: Reader, run_id: str) -> Material | None:
    """
    Return the material of one run, or None when the run is unknown.

    Raises what ``Reader`` raises. The parts are read one after the other: of a run that is still
    running, later parts may be newer than earlier ones.
    """
    detail = reader.run_detail(run_id)
    if detail is None:
        return None
    run = detail.run
    usual = reader.baseline(run.pipeline, run.pipeline_version, without=run_id)
    habits = reader.habits(run_id, run.pipeline, run.pipeline_version)
    lost = _lost(reader, detail)
    step = deciding_step(detail.steps)
    if step is None or step.selected_id is None:
        return Material(detail, usual, None, None, lost=lost, habits=habits)
    rivals = _decisions(reader, step)
    rival = best_rival(rivals, step.selected_id)
    asked = [step.selected_id] if rival is None else [step.selected_id, rival.item_id]
    journeys = reader.journeys(run_id, asked)
    return Material(
        detail=detail,
        baseline=usual,
        winner=journeys.get(step.selected_id),
        runner_up=None if rival is None else journeys.get(rival.item_id),
        rivals=rivals,
        lost=lost,
        habits=habits,
    )


def _lost(reader: Reader, detail: RunDetail) -> dict[str, Sequence[str]]:
    """Step id to lost items, for steps whose counts do not add up (``Material.lost``)."""
    by_id = {step.step_id: step for step in last_attempts(detail.steps)}
    found: dict[str, Sequence[str]] = {}
    for line in audit(detail.steps):
        if (line.unaccounted or line.handover_difference) and len(line.previous_step_ids) == 1:
            before, step = by_id[line.previous_step_ids[0]], by_id[line.step_id]
            if _tells(before) and _tells(step):
                found[step.step_id] = lost_items(_decisions(reader, before), _decisions(reader, step))
    return found


def _tells(step: StepRecord) -> bool:
    """Whether all that the step recorded can be read, so that an item it does not name was not recorded."""
    known = step.completeness
    whole = known.evidence in ("full", "partial") and not known.missing
    return (
        whole
        and known.decisions_recorded == known.decisions_stored
        and known.decisions_stored <= MAX_DECISIONS
    )


def _decisions(reader: Reader, step: StepRecord) -> Sequence[DecisionRecord]:
    """The decisions of the step's own attempt, at most ``MAX_DECISIONS``."""
    # In one page: each page reads the step and unpacks the chunk it begins in anew.
    own = Filters((Condition("attempt", "attempt", "eq", step.attempt),))
    page = reader.decisions(step.run_id, step.step_id, own, PageRequest(MAX_DECISIONS))
    return () if page is None else page.items
