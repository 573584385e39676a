"""The decisions of the steps of a run, as the columns that they are stored in: no object per candidate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    func,
    select,
)

from store.decision_text import open_columns
from store.decisions import DecisionColumns, text_bytes
from store.engine import BINARY
from store.ids import run_key
from store.kept import Kept, rows
from store.queries.chunks import readable
from store.schema import decisions, runs, steps

MAX_DECISIONS = 1_000_000
"""Of one run; 100,000 take 12 ms of processor time and 15 MB."""
MAX_PACKED_BYTES = 32 << 20
"""Of one run: checks and texts take far more than a million plain decisions, 12 to 24 bytes each."""

MAX_TEXT_BYTES = 256 << 20
"""Of one run, unpacked, which is what is kept in memory: a text that repeats itself packs to a thousandth."""

StepKey = tuple[str, str]
"""(step_id, attempt_key)."""


class RunColumns(NamedTuple):
    """What the steps of a run decided, and which step's span stands around which."""

    by_step: Mapping[StepKey, Sequence[DecisionColumns]]
    """Chunks in order; without executions that have none."""
    unread: frozenset[StepKey]
    """Executions with decisions that were too many, or that cannot be unpacked; not in ``by_step``."""
    enclosing: Mapping[StepKey, str]
    """The parent of the step's span, hex; it may be no step."""


NO_COLUMNS = RunColumns({}, frozenset(), {})


def run_columns(
    connection: Connection, run_id: str, wanted: Collection[StepKey], limit: int = MAX_DECISIONS
) -> RunColumns:
    """
    Return the readable decisions of these executions of a run.

    Where they are more than ``limit`` or ``MAX_PACKED_BYTES``, the smallest steps are read, and of those the
    first that unpack to ``MAX_TEXT_BYTES``. Three statements by primary key.
    """
    of_run = {"asked_run": run_key(run_id)}
    listed, spans = rows(connection, (_LISTED, of_run), (_SPANS, of_run))
    sizes: Counter[StepKey] = Counter()
    packed_bytes: Counter[StepKey] = Counter()
    closed: set[StepKey] = set()
    for row in listed:
        step = (row["step_id"], row["attempt_key"])
        sizes[step] += row["item_count"]
        packed_bytes[step] += row["packed"]
        if not row["opens"]:
            closed.add(step)
    asked = sizes.keys() & set(wanted)
    chosen: set[StepKey] = set()
    left, left_bytes = limit, MAX_PACKED_BYTES
    for step in sorted(asked - closed, key=lambda step: (sizes[step], step)):
        if sizes[step] <= left and packed_bytes[step] <= left_bytes:
            left, left_bytes = left - sizes[step], left_bytes - packed_bytes[step]
            chosen.add(step)
    found: dict[StepKey, list[DecisionColumns]] = {}
    if chosen:
        steps_of, attempts_of = zip(*chosen, strict=True)
        named = {"chosen_steps": list(steps_of), "chosen_attempts": list(attempts_of)}
        # Any number of them is asked for, so that no plan is good for all (``store.kept``).
        found, too_long = _opened(connection.execute(_CHUNKS, of_run | named, execution_options=BINARY))
        chosen -= too_long
    return RunColumns(
        found,
        frozenset(asked - chosen),
        {(row["step_id"], row["attempt_key"]): row["parent_span_id"].hex() for row in spans},
    )


def _of_run(table: Table) -> tuple[ColumnElement[bool], ...]:
    key = bindparam("asked_run", type_=Uuid)
    day = select(runs.c.run_day).where(runs.c.run_key == key).scalar_subquery()
    return table.c.run_key == key, table.c.run_day == day


def _chunks() -> Select[Any]:
    # By attempt as well: another one of the step may be of any size.
    names = (bindparam(name, type_=ARRAY(Text)) for name in ("chosen_steps", "chosen_attempts"))
    named = func.unnest(*names).table_valued("step_id", "attempt_key", name="chosen").render_derived()
    return (
        select(*_PLACE, decisions.c.data)
        .join(named, and_(_PLACE[0] == named.c.step_id, _PLACE[1] == named.c.attempt_key))
        .where(*_of_run(decisions))
        .order_by(*_PLACE, decisions.c.chunk_index)
    )


_PLACE = (decisions.c.step_id, decisions.c.attempt_key)
_LISTED = Kept(
    select(
        *_PLACE,
        decisions.c.item_count,
        # Of columns stored out of line the length is known without fetching them.
        func.coalesce(func.octet_length(decisions.c.data), 0).label("packed"),
        readable(decisions).label("opens"),
    ).where(*_of_run(decisions))
)
_SPANS = Kept(
    select(steps.c.step_id, steps.c.attempt_key, steps.c.parent_span_id).where(
        *_of_run(steps), steps.c.parent_span_id.is_not(None)
    )
)
_CHUNKS = _chunks()


def _opened(
    chunks: Iterable[Sequence[Any]],
) -> tuple[dict[StepKey, list[DecisionColumns]], set[StepKey]]:
    """Return the chunks by step, and the steps that are left out because they unpack to too much."""
    found: dict[StepKey, list[DecisionColumns]] = defaultdict(list)
    texts: Counter[StepKey] = Counter()
    too_long: set[StepKey] = set()
    left = MAX_TEXT_BYTES
    for step_id, attempt_key, data in chunks:
        step = (step_id, attempt_key)
        if step in too_long:
            continue
        size = text_bytes(data)
        if size > left:
            too_long.add(step)
            found.pop(step, None)
            left += texts.pop(step, 0)
            continue
        left -= size
        texts[step] += size
        found[step].append(open_columns(data))
    return dict(found), too_long
