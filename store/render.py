"""
A state of the merge as a table row, and a table row as the state it came from.

``recover_step(render_step(state))`` merges with further copies exactly as ``state`` would:
the row names the columns that its terminal copy did not send (``filled``), keeps the start
copy whole, and the order of the terminal copy in ``end_sent_ns``, ``span_id`` and
``content_hash``. Derived columns are computed here, after the merge, since ``in`` may come
from the start copy and ``out`` from the terminal one.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from store.copies import decode_run, decode_step, encode
from store.derive import candidates_out, drop_ratio, duration_ms, flag_objects, step_flags, time_flags
from store.merge import NO_UNTIL, Ranked, RunState, StepState, Stub, microseconds, rank
from store.records import RunRow, StepRow
from store.rows import Flag, RunCopy, StepCopy

_NO_SCORE = (None,) * 7
_SCORE_COLUMNS = tuple(column for column in StepRow._fields if column.startswith("score_"))

_NEVER_FILLED = frozenset(
    {"run_id", "step_id", "attempt_key", "terminal", "status", "start_sent_ns", "end_sent_ns"}
    | {"flags", "run_flags", "sent_hash"}
)
_STEP_FILLED = tuple(name for name in StepCopy._fields if name not in _NEVER_FILLED)
_RUN_FILLED = tuple(
    name for name in RunCopy._fields if name not in _NEVER_FILLED and name not in ("trace_id", "start_ns")
)
_STUB_WORDS = ("pipeline", "pipeline_version", "service_name", "environment")


def render_step(state: StepState, run_key: bytes, run_day: date) -> StepRow:
    """The row of a step; ``state`` holds at least one copy."""
    step, filled = _effective_step(state)
    started_us, ended_us = microseconds(step.start_ns), microseconds(step.end_ns)
    terminal = state.terminal
    out = candidates_out(step)
    if out is not None and step.candidates_out is None:
        filled.append("candidates_out")
    filled += [field for field in ("name", "step_type") if getattr(step, field) is None]
    flags: list[Flag] = list(step.flags)
    flags += time_flags(step.flags, started_us, ended_us, ended=terminal is not None)
    if terminal is not None:
        flags += step_flags(step, out)
    receipt_filled = []
    if started_us is None:
        receipt_filled.append("started_at")
    if terminal is not None and ended_us is None:
        receipt_filled.append("ended_at")
    lowest, highest, mean, std, p10, p50, p90 = step.score or _NO_SCORE
    return StepRow(
        run_key,
        step.step_id,
        step.attempt_key,
        run_day,
        step.attempt,
        step.name or step.step_id,
        step.step_type or "custom",
        step.step_type_original,
        "running" if terminal is None else step.status or "ok",
        step.step_index,
        step.pipeline,
        step.pipeline_version,
        step.service_name,
        step.environment,
        step.trace_id,
        step.span_id,
        step.parent_span_id,
        state.received_us if started_us is None else started_us,
        ended_us if ended_us is not None or terminal is None else terminal.received_us,
        duration_ms(started_us, ended_us),
        step.candidates_in,
        out,
        drop_ratio(step.candidates_in, out),
        step.kept,
        step.eliminated,
        step.scored,
        step.selected,
        step.not_selected,
        step.deferred,
        step.merged,
        step.reason_codes,
        step.reason_counts,
        lowest,
        highest,
        mean,
        std,
        p10,
        p50,
        p90,
        step.selected_id,
        step.why,
        step.metrics,
        step.fields,
        step.sources,
        step.input,
        step.output,
        step.reasoning,
        step.model,
        step.temperature,
        step.top_k,
        step.parents,
        step.config_fingerprint,
        step.capture_level,
        step.decisions_recorded,
        step.decisions_chunks,
        step.error_type,
        step.error_message,
        step.inferred,
        step.dropped_attributes,
        flag_objects(flags) if flags else None,
        None if terminal is None else terminal.copy.end_sent_ns,
        None if terminal is None else terminal.order[2],
        _start_copy(state.start),
        filled or None,
        receipt_filled or None,
        _sent_flags(terminal),
        state.deliveries,
        state.received_us,
    )


def recover_step(row: StepRow, run_id: str) -> StepState:
    """The state that the row was rendered from, as far as a further merge can tell."""
    start = None
    if row.start_copy is not None:
        start = rank(decode_step(row.start_copy["copy"]), row.received_at, row.start_copy["content_hash"])
    if row.content_hash is None:
        return StepState(row.deliveries, row.received_at, start=start)
    sent = _sent_columns(row, _STEP_FILLED)
    not_sent = {*(row.filled or ()), *(row.receipt_filled or ())}
    score = tuple(getattr(row, column) for column in _SCORE_COLUMNS)
    if "score" not in not_sent and any(value is not None for value in score):
        sent["score"] = score
    copy = StepCopy(
        run_id=run_id,
        step_id=row.step_id,
        attempt_key=row.attempt_key,
        terminal=True,
        status=row.status,
        start_ns=_nanoseconds(None if "started_at" in not_sent else row.started_at),
        end_ns=_nanoseconds(None if "ended_at" in not_sent else row.ended_at),
        end_sent_ns=row.end_sent_ns,
        flags=_flags(row.sent_flags),
        **sent,
    )
    received_us = row.ended_at if "ended_at" in (row.receipt_filled or ()) else row.received_at
    assert received_us is not None  # ended_at of a terminal row is never null
    return StepState(
        row.deliveries,
        row.received_at,
        terminal=rank(copy, received_us, row.content_hash),
        start=start,
    )


def render_run(state: RunState, run_key: bytes, run_day: date) -> RunRow:
    """The row of a run."""
    run, filled = _effective_run(state)
    terminal = state.terminal
    ended_us = None if terminal is None else microseconds(terminal.copy.end_ns)
    wait_at = None if state.wait is None else state.wait[0]
    started_us = next(
        (time for time in (state.run_started_us, state.first_step_us, wait_at) if time is not None), None
    )
    flags: list[Flag] = list(state.flags)
    if terminal is not None or state.start is not None:
        flags += time_flags(state.flags, started_us, ended_us, ended=terminal is not None)
    receipt_filled = []
    if started_us is None:
        receipt_filled.append("started_at")
    if terminal is not None and ended_us is None:
        receipt_filled.append("ended_at")
    return RunRow(
        run_key,
        state.run_id,
        run_day,
        run.pipeline,
        run.pipeline_version,
        run.service_name,
        run.environment,
        run.entity,
        run.tags,
        run.input,
        run.output,
        run.outcome,
        run.outcome_reason,
        run.error_type,
        run.error_message,
        run.schema_id,
        run.schema_version,
        run.capture_level,
        run.timeout_s,
        state.received_us if started_us is None else started_us,
        ended_us if ended_us is not None or terminal is None else terminal.received_us,
        duration_ms(started_us, ended_us),
        None if terminal is None else terminal.copy.status or "completed",
        state.run_started_us,
        state.first_step_us,
        wait_at,
        None if state.wait is None or state.wait[1] == NO_UNTIL else state.wait[1],
        state.trace_ids or None,
        flag_objects(flags) if flags else None,
        None if terminal is None else terminal.copy.span_id,
        None if terminal is None else terminal.copy.end_sent_ns,
        None if terminal is None else terminal.order[2],
        _start_copy(state.start),
        filled or None,
        receipt_filled or None,
        [list(flag) for flag in state.flags] or None,
        _stub_object(state.stub),
        state.deliveries,
        state.received_us,
        state.last_received_us,
    )


def recover_run(row: RunRow) -> RunState:
    """The state that the row was rendered from, as far as a further merge can tell."""
    start = terminal = None
    if row.start_copy is not None:
        start = rank(decode_run(row.start_copy["copy"]), row.received_at, row.start_copy["content_hash"])
    if row.content_hash is not None:
        by_receipt = "ended_at" in (row.receipt_filled or ())
        copy = RunCopy(
            run_id=row.run_id,
            terminal=True,
            status=row.terminal_status,
            end_ns=_nanoseconds(None if by_receipt else row.ended_at),
            end_sent_ns=row.end_sent_ns,
            **_sent_columns(row, _RUN_FILLED),
        )
        received_us = row.ended_at if by_receipt else row.received_at
        assert received_us is not None  # ended_at of a terminal row is never null
        terminal = rank(copy, received_us, row.content_hash)
    wait = None
    if row.wait_at is not None:
        wait = (row.wait_at, NO_UNTIL if row.wait_until is None else row.wait_until)
    return RunState(
        row.run_id,
        row.deliveries,
        row.received_at,
        row.last_received_at,
        terminal=terminal,
        start=start,
        run_started_us=row.run_started_at,
        first_step_us=row.first_step_at,
        wait=wait,
        stub=None if row.stub is None else Stub(**{**row.stub, "order": tuple(row.stub["order"])}),
        trace_ids=tuple(row.trace_ids or ()),
        flags=_flags(row.sent_flags),
    )


def _effective_step(state: StepState) -> tuple[StepCopy, list[str]]:
    """The terminal copy with its gaps filled by the start copy, and the names of the filled."""
    if state.start is None or state.terminal is None:
        only = state.terminal or state.start
        assert only is not None  # a state is made from a copy
        return only.copy, []
    own, start = state.terminal.copy, state.start.copy
    fillers = {
        name: getattr(start, name)
        for name in _STEP_FILLED
        if getattr(own, name) is None and getattr(start, name) is not None
    }
    if own.reason_codes is not None or own.reason_counts is not None:
        # Codes of one copy with counts of another would be a histogram that nobody sent.
        fillers.pop("reason_codes", None)
        fillers.pop("reason_counts", None)
    if own.step_type is not None:
        fillers.pop("step_type_original", None)  # the word for another copy's type
    filled = [_column(name) for name in fillers]
    return own._replace(**fillers, flags=(*own.flags, *start.flags)), filled


def _effective_run(state: RunState) -> tuple[RunCopy, list[str]]:
    """Terminal copy, else start copy, else what the steps say; and the names of the filled."""
    own = state.terminal.copy if state.terminal else RunCopy(state.run_id, terminal=False)
    fillers = {}
    for source, names in (
        (None if state.start is None else state.start.copy, _RUN_FILLED),
        (state.stub, _STUB_WORDS),
    ):
        for name in names if source is not None else ():
            value = getattr(source, name)
            if value is not None and getattr(own, name) is None and name not in fillers:
                fillers[name] = value
    if not fillers:
        return own, []
    # The span id belongs to the order of the terminal copy and is nobody else's to fill.
    for name in ("span_id", "end_ns"):
        fillers.pop(name, None)
    return own._replace(**fillers), [_column(name) for name in fillers]


def _stub_object(stub: Stub | None) -> dict[str, Any] | None:
    return None if stub is None else dict(zip(Stub._fields, stub, strict=True))


def _column(field: str) -> str:
    return {"start_ns": "started_at", "end_ns": "ended_at"}.get(field, field)


def _sent_columns(row: RunRow | StepRow, names: tuple[str, ...]) -> dict[str, Any]:
    """The copy's fields that bear a column's name and that the winning copy sent itself."""
    not_sent = frozenset(row.filled or ())
    values = {name: getattr(row, name) for name in names if name in row._fields and name not in not_sent}
    return {
        name: tuple(value)
        if isinstance(value, list) and name in ("reason_codes", "reason_counts", "parents")
        else value
        for name, value in values.items()
    }


def _start_copy(start: Ranked[Any] | None) -> dict[str, Any] | None:
    return None if start is None else {"copy": encode(start.copy), "content_hash": start.order[2]}


def _sent_flags(terminal: Ranked[StepCopy] | None) -> list[list[Any]] | None:
    if terminal is None or not terminal.copy.flags:
        return None
    return [list(flag) for flag in terminal.copy.flags]


def _flags(sent: list[list[Any]] | None) -> tuple[Flag, ...]:
    return tuple(Flag(*flag) for flag in sent or ())


def _nanoseconds(time_us: int | None) -> int | None:
    return None if time_us is None else time_us * 1000
