"""
Objects of the JSON doors to rows (``contract.md``: JSON doors).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.decisions import from_list
from collector.errors import DecisionsUnreadable
from collector.extract.door_fields import (
    JSON_FIELDS,
    named_back,
    run_attributes,
    step_attributes,
    time_field,
)
from collector.extract.evidence import packed
from collector.extract.fields import name, word
from collector.extract.identity import attempt_key, step_identity
from collector.extract.json_text import json_value
from collector.extract.runs import end_order, run_fields_of
from collector.extract.steps import step_copy, step_values
from collector.extract.vocabulary import SLOT
from store.rows import DecisionChunk, RunCopy, StepCopy
from xray_otel import semconv

CHUNK_CANDIDATES = 5000
"""Decisions per stored chunk: about the 256 KiB of text that chunks on the wire have."""
_step_status = word(semconv.STEP_STATUSES)


def run_copy(run_id: str, sent: Mapping[str, Any], received_ns: int, *, terminal: bool) -> RunCopy:
    """Return the copy of a run that ``POST /runs`` or a ``run_finish`` event stands for."""
    attributes, flags = run_attributes(sent)
    fields = run_fields_of(attributes, flags)
    if terminal:
        fields["status"] = fields.get("status") or ("crashed" if fields.get("error_type") else "completed")
    else:
        fields["status"] = None
    for field in ("input", "output"):
        fields[field] = json_value(sent.get(field), field, flags)
    start = time_field(sent, "started_at", received_ns, flags)
    end = time_field(sent, "ended_at", received_ns, flags)
    return RunCopy(
        run_id=run_id,
        terminal=terminal,
        start_ns=start.ns,
        start_sent_ns=start.sent_ns,
        end_ns=end.ns if terminal else None,
        end_sent_ns=end_order(end.sent_ns) if terminal else None,
        service_name=name(sent.get("service_name"), "service_name", flags),
        environment=name(sent.get("environment"), "environment", flags),
        flags=named_back(flags),
        **fields,
    )


def step_copy_of(
    run_id: str, sent: Mapping[str, Any], received_ns: int, *, terminal: bool
) -> StepCopy | None:
    """
    Return the copy of a step that a ``step_start`` or ``step_end`` event stands for.

    None without a step id. What a ``step_end`` leaves out, its name and type too, the
    ``step_start`` fills in when the two are merged.
    """
    attributes, flags = step_attributes(sent)
    step_id = step_identity(sent.get("step_id"), "step_id", flags)
    if step_id is None:
        return None
    values = step_values(attributes, flags)
    status = _step_status(sent.get("status"), "status", flags)
    for field in JSON_FIELDS:
        values[SLOT[field]] = json_value(sent.get(field), field, flags)
    start = time_field(sent, "started_at", received_ns, flags)
    end = time_field(sent, "ended_at", received_ns, flags)
    fields: dict[str, Any] = {
        "run_id": run_id,
        "step_id": step_id,
        "attempt_key": attempt_key(values[SLOT["attempt"]], None),
        "terminal": terminal,
        "status": (status or ("error" if values[SLOT["error_type"]] else "ok")) if terminal else None,
        "start_ns": start.ns,
        "start_sent_ns": start.sent_ns,
        "end_ns": end.ns if terminal else None,
        "end_sent_ns": end.sent_ns if terminal else None,
        "flags": named_back(flags),
    }
    for field, value in fields.items():
        values[SLOT[field]] = value
    return step_copy(values)


def chunks_of(step: StepCopy, decisions: Any) -> list[DecisionChunk]:
    """
    Return the decisions of a ``step_end`` event as chunks.

    One chunk with ``error`` set when they cannot be read.
    """
    key = (step.run_id, step.step_id, step.attempt_key)
    try:
        if not isinstance(decisions, list):
            raise DecisionsUnreadable("decisions is not an array")
        parts = [decisions[at : at + CHUNK_CANDIDATES] for at in range(0, len(decisions), CHUNK_CANDIDATES)]
        return [packed(*key, index, len(parts), from_list(part)) for index, part in enumerate(parts)]
    except DecisionsUnreadable as exc:
        return [DecisionChunk(*key, 0, None, 0, None, exc.reason)]


def unknown_fields(sent: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """Return the fields that nobody reads, as they can be shown."""
    return [field[:200].encode(errors="replace").decode() for field in sent if field not in known]
