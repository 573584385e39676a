"""Reads what an explanation needs; the only part of it that asks the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from api.explain.audit import audit, usually_counting
from api.explain.funnel import last_attempts
from api.explain.records import AuditLine, Material
from api.explain.stories import deciding_step, rival_in
from store.decisions import about, rows
from store.queries.decisions import decision_record
from store.queries.run_columns import MAX_DECISIONS, NO_COLUMNS, RunColumns
from store.queries.types import Missing, RunDetail, RunRecord, StepRecord
from store.queries.types_decisions import DecisionRecord, Journey, JourneyStep
from store.reader import Reader


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
    columns = read_columns(reader, detail)
    detail = as_read(detail, columns)
    step = deciding_step(detail.steps)
    if step is None or step.selected_id is None:
        return Material(detail, usual, None, None, columns=columns, habits=habits)
    parts = columns.by_step.get((step.step_id, step.attempt_key), ())
    rival = rival_in(parts, step.selected_id)
    asked = {step.selected_id} if rival is None else {step.selected_id, rival}
    told = [Told(one, _about(columns, one, asked)) for one in last_attempts(detail.steps)]
    return Material(
        detail=detail,
        baseline=usual,
        winner=_journey(detail, columns, told, step.selected_id),
        runner_up=None if rival is None else _journey(detail, columns, told, rival),
        rivals=next(one.decisions for one in told if one.step is step),
        columns=columns,
        habits=habits,
    )


class Audited(NamedTuple):
    """The audit of a run, with every item."""

    run: RunRecord
    lines: Sequence[AuditLine]


def gather_audit(reader: Reader, run_id: str) -> Audited | None:
    """Audit one run, or return None when it is unknown; raises what ``Reader`` raises."""
    detail = reader.run_detail(run_id)
    if detail is None:
        return None
    run = detail.run
    usual = reader.baseline(run.pipeline, run.pipeline_version, without=run_id)
    columns = read_columns(reader, detail)
    lines = audit(run, detail.steps, columns, usually_counting(usual))
    return Audited(as_read(detail, columns).run, lines)


def read_columns(reader: Reader, detail: RunDetail, limit: int = MAX_DECISIONS) -> RunColumns:
    """The decisions of the last attempts of a run's steps; nothing is asked for where there are none."""
    wanted = [
        (step.step_id, step.attempt_key)
        for step in last_attempts(detail.steps)
        if step.completeness.decisions_stored
    ]
    return reader.run_columns(detail.run.run_id, wanted, limit) if wanted else NO_COLUMNS


def as_read(detail: RunDetail, columns: RunColumns) -> RunDetail:
    """The run with decisions that were too many to be read counted as missing."""
    stored = (
        step.completeness.decisions_stored
        for step in detail.steps
        if (step.step_id, step.attempt_key) in columns.unread
    )
    if not (count := sum(stored)):
        return detail
    known = detail.run.completeness
    stated = replace(
        known,
        state="partial" if known.state == "complete" else known.state,
        evidence="partial",
        missing=(*known.missing, Missing("not_read", "decisions", count)),
    )
    return replace(detail, run=replace(detail.run, completeness=stated))


class Told(NamedTuple):
    """What a step decided about the items that are asked for."""

    step: StepRecord
    decisions: Sequence[DecisionRecord]


def _journey(detail: RunDetail, columns: RunColumns, told: Sequence[Told], item_id: str) -> Journey | None:
    """The way of an item as the last attempts tell it; None when none of them names it."""
    visits = []
    for step, decisions in told:
        found = [record for record in decisions if record.item_id == item_id]
        absent = (
            step.completeness.evidence == "full" and (step.step_id, step.attempt_key) not in columns.unread
        )
        visits.append(JourneyStep(step, "recorded" if found else "absent" if absent else "unknown", found))
    judged = [visit for visit in visits if visit.decisions]
    if not judged:
        return None
    last = judged[-1]
    return Journey(
        run_id=detail.run.run_id,
        item_id=item_id,
        final_verdict=last.decisions[-1].verdict,
        final_step_id=last.step.step_id,
        steps=visits,
        completeness=detail.run.completeness,
    )


def _about(columns: RunColumns, step: StepRecord, items: set[str]) -> Sequence[DecisionRecord]:
    parts = columns.by_step.get((step.step_id, step.attempt_key), ())
    return [
        decision_record(decision, step.attempt) for part in parts for decision in rows(about(part, items))
    ]
