"""
Steps of which a single terminal copy came, rendered by the column.

That is what nearly every step is when it lands. Nothing has to be merged, so a column of rows
comes from a column of copies at once: ``render_lone`` gives what ``render_step`` gives for
each, at a fifth of the processor time (decision 0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date
from itertools import repeat
from operator import itemgetter, le
from typing import Any

import psycopg

from store.bounds import Reach
from store.derive import candidates_out, drop_ratio, duration_ms, flag_objects, step_flags, time_flags
from store.faults import CONFLICT, ROW_REFUSED
from store.kinds import Steps
from store.landing import Landed, by_batch, by_column, land
from store.merge import StepState, step_state
from store.records import StepRow
from store.render import render_step
from store.rollup_marks import leave, slots_of, statement
from store.rows import Flag, StepCopy
from store.savepoint import savepoint
from store.statements import Item, Source
from store.wire import Column

StepKey = tuple[bytes, str, str]
"""Run key, step id, attempt key."""
Lone = tuple[int, StepCopy, int, int]
"""
A terminal copy that is merged with no other: number of its batch, the copy, its time of receipt
in microseconds, its hash. Plain tuples: named ones take six times as long to make.
"""

Step = tuple[StepKey, Lone | Item[StepState]]

_RUN_DAY, _STARTED_AT = map(StepRow._fields.index, ("run_day", "started_at"))
_NO_SCORE = (None,) * 7
_copy_columns: Any = StepCopy
_row_columns: Any = StepRow
"""As rows of columns: each field holds the values of all rows."""


def item_of(key: tuple[Any, ...], lone: Lone) -> Item[StepState]:
    """The copy as an item, ready to be merged with others."""
    number, copy, received_us, hashed = lone
    return Item(key, step_state(copy, received_us, hashed), [Source(number, copy)])


def land_steps(
    cursor: psycopg.Cursor[Any],
    steps: Iterable[Step],
    days: Mapping[bytes, date],
    repeated: Set[int],
    reach: Reach,
) -> Landed[StepState]:
    """
    Bring steps, of distinct keys, into their table within the open transaction.

    days: the day of every run; repeated: batches whose keys are likely to be taken; reach: where the
    times of the rows are noted.
    """
    steps = sorted(steps, key=itemgetter(0))
    again = [step for step in steps if _batch_of(step) in repeated] if repeated else []
    kind = Steps(reach)
    landed = _land_new(
        cursor,
        [step for step in steps if _batch_of(step) not in repeated] if again else steps,
        days,
        reach,
        kind,
    )
    landed.add(land(cursor, kind, _items(again, days), again=True))
    leave(cursor, kind.touched(landed))
    return landed


def _land_new(
    cursor: psycopg.Cursor[Any], steps: Sequence[Step], days: Mapping[bytes, date], reach: Reach, kind: Steps
) -> Landed[StepState]:
    """
    As ``landing.land``, but items are made only of steps whose key is taken or that are refused.

    kind: lands those; of the others the marks are left here.
    """
    landed: Landed[StepState] = Landed()
    if not steps:
        return landed
    try:
        columns = _columns(steps, days)
        with savepoint(cursor, statement(slots_of(columns[_STARTED_AT], columns[_RUN_DAY]))):
            Steps.statements.copy.send(cursor, columns)
    except CONFLICT:
        batches = by_batch(steps, _batch_of)
        if len(batches) == 1:
            return land(cursor, kind, _items(steps, days), again=True)
        for batch in batches:
            landed.add(_land_new(cursor, batch, days, reach, kind))
    except ROW_REFUSED:
        return land(cursor, kind, _items(steps, days))
    else:
        reach.note_all("steps", columns[_RUN_DAY], columns[_STARTED_AT])
    return landed


def _batch_of(step: Step) -> int:
    _, entry = step
    return entry.sources[0].batch if isinstance(entry, Item) else entry[0]


def _items(steps: Iterable[Step], days: Mapping[bytes, date]) -> list[Item[StepState]]:
    return [
        (entry if isinstance(entry, Item) else item_of(key, entry))._replace(key=(*key, days[key[0]]))
        for key, entry in steps
    ]


def _columns(steps: Sequence[Step], days: Mapping[bytes, date]) -> Sequence[Column]:
    """The columns of the steps' rows, in the order of the steps."""
    merged = [(key, entry) for key, entry in steps if isinstance(entry, Item)]
    lone = [(key, entry) for key, entry in steps if not isinstance(entry, Item)]
    rows = [render_step(item.state, key[0], days[key[0]]) for key, item in merged]
    if not lone:
        return by_column(rows)
    keys, copies = zip(*lone, strict=True)
    columns = render_lone(keys, copies, [days[key[0]] for key in keys])
    if not rows:
        return columns
    both = [*keys, *(key for key, _ in merged)]
    order = sorted(range(len(both)), key=both.__getitem__)
    joined = ((*one, *other) for one, other in zip(columns, by_column(rows), strict=True))
    return [[column[position] for position in order] for column in joined]


def render_lone(keys: Sequence[StepKey], lone: Sequence[Lone], run_days: Column) -> Sequence[Column]:
    """The columns of the rows of these steps, at least one, in the order of ``StepRow``."""
    _, copies, received_us, hashes = zip(*lone, strict=True)
    copy = _copy_columns(*zip(*copies, strict=True))
    run_keys, step_ids, attempt_keys = zip(*keys, strict=True)
    started, ended = _microseconds(copy.start_ns), _microseconds(copy.end_ns)
    out = [
        candidates_out(one) if sent is None else sent
        for one, sent in zip(copies, copy.candidates_out, strict=True)
    ]
    timed = all(started) and all(ended)
    sent_whole = all(copy.name) and all(copy.step_type) and out == list(copy.candidates_out)
    nothing = (None,) * len(copies)
    columns: Sequence[Column] = _row_columns(
        run_keys,
        step_ids,
        attempt_keys,
        run_days,
        copy.attempt,
        _or_else(copy.name, step_ids),
        _or_else(copy.step_type, ("custom",) * len(copies)),
        copy.step_type_original,
        _or_else(copy.status, ("ok",) * len(copies)),
        copy.step_index,
        copy.pipeline,
        copy.pipeline_version,
        copy.service_name,
        copy.environment,
        copy.trace_id,
        copy.span_id,
        copy.parent_span_id,
        _or_receipt(started, received_us),
        _or_receipt(ended, received_us),
        list(map(duration_ms, started, ended)),
        copy.candidates_in,
        out,
        list(map(drop_ratio, copy.candidates_in, out)),
        copy.kept,
        copy.eliminated,
        copy.scored,
        copy.selected,
        copy.not_selected,
        copy.deferred,
        copy.merged,
        copy.reason_codes,
        copy.reason_counts,
        *_scores(copy.score),
        copy.selected_id,
        copy.why,
        copy.metrics,
        copy.fields,
        copy.sources,
        copy.input,
        copy.output,
        copy.reasoning,
        copy.model,
        copy.temperature,
        copy.top_k,
        copy.parents,
        copy.config_fingerprint,
        copy.capture_level,
        copy.decisions_recorded,
        copy.decisions_chunks,
        copy.error_type,
        copy.error_message,
        copy.inferred,
        copy.dropped_attributes,
        _flags(copies, started, ended, out),
        copy.end_sent_ns,
        hashes,
        nothing,
        nothing if sent_whole else [_filled(*each) for each in zip(copies, out, strict=True)],
        nothing if timed else [_receipt_filled(*each) for each in zip(started, ended, strict=True)],
        [[list(flag) for flag in flags] or None for flags in copy.flags] if any(copy.flags) else nothing,
        (1,) * len(copies),
        received_us,
    )
    return columns


def _microseconds(times_ns: Column) -> list[int | None]:
    return [None if time_ns is None else time_ns // 1000 for time_ns in times_ns]


def _or_else(values: Column, stand_ins: Column) -> Column:
    if all(values):
        return values
    return [value or stand_in for value, stand_in in zip(values, stand_ins, strict=True)]


def _or_receipt(times_us: Column, received_us: Column) -> Column:
    if all(times_us):
        return times_us
    return [
        receipt if time_us is None else time_us
        for time_us, receipt in zip(times_us, received_us, strict=True)
    ]


def _scores(scores: Column) -> Iterable[Any]:
    if not any(scores):
        return [(None,) * len(scores)] * 7
    return zip(*(score or _NO_SCORE for score in scores), strict=True)


def _flags(copies: Sequence[StepCopy], started: Column, ended: Column, outs: Column) -> Column:
    return [
        flag_objects((*copy.flags, *of_times, *of_counts)) if copy.flags or of_times or of_counts else None
        for copy, of_times, of_counts in zip(
            copies, _time_flags(copies, started, ended), map(step_flags, copies, outs), strict=True
        )
    ]


def _time_flags(copies: Sequence[StepCopy], started: Column, ended: Column) -> Iterable[Sequence[Flag]]:
    if all(started) and all(ended) and all(map(le, started, ended)):
        return repeat((), len(copies))
    return [
        time_flags(copy.flags, started_us, ended_us, ended=True)
        for copy, started_us, ended_us in zip(copies, started, ended, strict=True)
    ]


def _filled(copy: StepCopy, out: int | None) -> list[str] | None:
    filled = ["candidates_out"] if copy.candidates_out is None and out is not None else []
    return filled + [field for field in ("name", "step_type") if getattr(copy, field) is None] or None


def _receipt_filled(started_us: int | None, ended_us: int | None) -> list[str] | None:
    times = (("started_at", started_us), ("ended_at", ended_us))
    return [name for name, time_us in times if time_us is None] or None
