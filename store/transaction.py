"""
One attempt of a writer at storing batches: what goes into which table, in one order, and what is refused.

Writers take the tables, and the rows of each, in the same order, so that they wait for each other instead
of blocking each other for good.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, TypeVar

import psycopg

from store.artifact_limit import trim
from store.assemble import RunWork, Work
from store.bounds import Bounds, Reach, widen
from store.erasures import ERASED, Erased
from store.faults import NO_PARTITION
from store.floors import EXPIRED, Floors
from store.kinds import Artifacts, Blobs, Decisions, Runs, day_of
from store.landing import Kind, land
from store.lone import Step, item_of, land_steps
from store.losses import Losses, LossState, SenderLosses, loss_of, loss_state, merge_losses
from store.merge import RunState, adds_nothing, bare_run
from store.outcomes import Outcomes
from store.rollup_marks import leave
from store.rows import Batch, Refused, RunCopy, RunWait, WriteResult
from store.schemas import Schemas
from store.statements import Item
from store.traces import Sign, claims, land_traces, own_trace

State = TypeVar("State")

_NEWS_INTERVAL_US = 10_000_000
"""How stale ``last_received_at`` of a run may get at most: against a statement per batch and run."""
_NEWS_SHARE_OF_TIMEOUT = 0.1
"""… and which part of its timeout, so that a run which is not silent never looks so."""
_CAUSES = {EXPIRED: "expired", ERASED: "erased"}


class KnownRun(NamedTuple):
    """What this writer knows to be committed of a run."""

    run_day: date
    state: RunState
    """Without its copies, which may be large."""
    news_interval_us: int


class Memory(NamedTuple):
    """What a writer remembers; a transaction reads it."""

    known: OrderedDict[str, KnownRun]
    bounds: dict[date, Bounds]
    floors: Floors
    erased: Erased


class Transaction:
    """One attempt at storing the work; thrown away when it fails."""

    def __init__(
        self,
        work: Work,
        memory: Memory,
        max_artifacts: int,
        repeated: frozenset[int] = frozenset(),
    ) -> None:
        self._work = work
        self._known, self._bounds, self._floors, self._erased = memory
        self._reach = Reach()
        self._max_artifacts = max_artifacts
        self._with_artifacts = {key[0] for key in work.artifacts}
        self._past_limit: list[Item[LossState]] = []
        self._repeated = repeated
        self._days: dict[bytes, date] = {}
        self._no_run: dict[bytes, str] = {}
        """Runs that could not be stored, with the reason; their children follow them."""
        self._refused = list(work.refused)
        self._created: list[str] = []
        self.learned: dict[str, KnownRun] = {}
        self.reached: dict[date, Bounds] = {}
        """To be remembered once this is committed."""
        self.expired: set[str] = set()
        """To be forgotten then."""
        self.found_no_partition = False

    def run(self, cursor: psycopg.Cursor[Any]) -> None:
        """Bring everything into the tables, always in this order of tables (no deadlocks)."""
        self._land_traces(cursor, self._land_runs(cursor))
        self._land_steps(cursor)
        self._land(cursor, Decisions(), self._work.decisions.values())
        self._land(cursor, Artifacts(), self._work.artifacts.values())
        self._land(cursor, Blobs(), self._work.blobs.values())
        if with_artifacts := self._with_artifacts & self._days.keys():
            now_us = max(work.state.received_us for work in self._work.runs.values())
            self._past_limit = trim(cursor, with_artifacts, self._days, self._max_artifacts, now_us)
        self._land(cursor, Outcomes(), self._work.outcomes.values())
        self._land_losses(cursor)
        self.reached = widen(cursor, self._reach, self._bounds)

    def results(self, batches: Sequence[Batch]) -> list[WriteResult]:
        """One per batch."""
        created: list[set[str]] = [set() for _ in batches]
        for run_id in self._created:
            created[self._work.runs[run_id].first_batch].add(run_id)
        refused: list[dict[int, Refused]] = [{} for _ in batches]
        for batch, refusal in self._refused:
            # An artifact may be refused twice, for its reference and for its payload.
            refused[batch].setdefault(id(refusal.row), refusal)
        return [
            WriteResult(
                _size(batch) - len(refused_here), tuple(refused_here.values()), frozenset(created_here)
            )
            for batch, refused_here, created_here in zip(batches, refused, created, strict=True)
        ]

    def _land_runs(self, cursor: psycopg.Cursor[Any]) -> dict[str, Iterable[bytes]]:
        """Return the traces that stored runs were first seen in, by run id."""
        kind = Runs(self._reach)
        items = []
        for run_id, work in self._work.runs.items():
            if work.key in self._erased.runs:
                self._no_run[work.key] = ERASED
                self._refuse([(Item((work.key,), work.state, work.sources), ERASED)])
                continue
            known = self._known.get(run_id)
            if known is not None and known.run_day < self._floors.runs:
                known = None
            # Whoever adds artifacts locks the run: they are counted (``store/artifact_limit.py``).
            if known is None or work.key in self._with_artifacts or _is_news(known, work):
                items.append(Item((work.key,), work.state, work.sources))
            else:
                self._days[work.key] = known.run_day
        landed = land(cursor, kind, items)
        leave(cursor, (), kind.renamed)
        self._refuse(landed.refused)
        for item in landed.created:
            self._created.append(item.state.run_id)
            self._learn(item.key[0], day_of(item.state.received_us), item.state)
        for run_id, (run_day, state) in kind.met.items():
            self._learn(self._work.runs[run_id].key, run_day, state)
        for item, why in landed.refused:
            # What was merged in vain must not be remembered as stored.
            self.learned.pop(item.state.run_id, None)
            if item.key[0] not in self._days and item.key[0] not in self._no_run:
                self._land_bare(cursor, item, why)
        self._refuse((item, EXPIRED) for item in items if item.state.run_id in self.expired)
        joined = {item.state.run_id: item.state.trace_ids for item in landed.created} | kind.joined
        return {run_id: trace_ids for run_id, trace_ids in joined.items() if run_id in self.learned}

    def _land_traces(self, cursor: psycopg.Cursor[Any], joined: Mapping[str, Iterable[bytes]]) -> None:
        """Say which runs the traces have, and of which something came that may belong to one of them."""
        runs = self._work.runs
        signs = []
        for run_id, work in runs.items():
            if work.key in self._no_run:
                continue
            if (work.inferred or work.evidence) and (trace_id := own_trace(run_id)) is not None:
                known = self.learned.get(run_id) or self._known.get(run_id)
                seen_in = known.state.trace_ids if known else ()
                if trace_id in seen_in or not seen_in:
                    signs.append(Sign(trace_id, work.inferred, work.state.received_us))
        claimed = []
        for run_id, trace_ids in joined.items():
            work = runs[run_id]
            claimed += claims(run_id, work.key, trace_ids, work.state.received_us)
        land_traces(cursor, claimed, signs)

    def _land_bare(self, cursor: psycopg.Cursor[Any], item: Item[RunState], why: str) -> None:
        """Give the children of a run whose only copy was refused a run to belong to."""
        state = item.state
        kind = Runs(self._reach)
        landed = land(
            cursor, kind, [item._replace(state=bare_run(state.run_id, state.received_us), sources=[])]
        )
        if landed.refused:
            self._no_run[item.key[0]] = f"its run was refused: {why}"
            return
        self._created += [created.state.run_id for created in landed.created]
        day = kind.met[state.run_id][0] if kind.met else day_of(state.received_us)
        if not self._has_expired(item.key[0], day, state.run_id):
            self._days[item.key[0]] = day

    def _has_expired(self, key: bytes, run_day: date, run_id: str) -> bool:
        """Whether retention is about to delete the run, whose partitions are gone; its children follow it."""
        if run_day >= self._floors.runs:
            return False
        self._no_run[key] = EXPIRED
        self.expired.add(run_id)
        return True

    def _learn(self, key: bytes, run_day: date, state: RunState) -> None:
        if self._has_expired(key, run_day, state.run_id):
            return
        self._days[key] = run_day
        known = state._replace(terminal=None, start=None)
        self.learned[state.run_id] = KnownRun(run_day, known, _news_interval_us(state))

    def _land_steps(self, cursor: psycopg.Cursor[Any]) -> None:
        steps: Iterable[Step] = self._work.steps.items()
        if self._no_run:
            ready = []
            for key, entry in steps:
                if key[0] in self._days:
                    ready.append((key, entry))
                else:
                    item = entry if isinstance(entry, Item) else item_of(key, entry)
                    self._refuse([(item, self._no_run[key[0]])])
            steps = ready
        landed = land_steps(cursor, steps, self._days, self._repeated, self._reach)
        self._refuse(landed.refused)

    def _land(self, cursor: psycopg.Cursor[Any], kind: Kind[State], items: Iterable[Item[State]]) -> None:
        new: list[Item[State]] = []
        again: list[Item[State]] = []
        floor = self._floors.of(kind.statements.table)
        for item in items:
            run_day = self._days.get(item.key[0])
            if run_day is None or run_day < floor:
                self._refuse([(item, EXPIRED if run_day else self._no_run[item.key[0]])])
                continue
            repeated = item.sources and item.sources[0].batch in self._repeated
            (again if repeated else new).append(item._replace(key=(*item.key, run_day)))
        self._refuse(land(cursor, kind, new).refused)
        self._refuse(land(cursor, kind, again, again=True).refused)

    def _land_losses(self, cursor: psycopg.Cursor[Any]) -> None:
        """Last, because what the database refused so far is lost as well."""
        items = dict(self._work.losses)
        for item in self._past_limit:
            known = items.get(item.key)
            items[item.key] = known._replace(state=merge_losses(known.state, item.state)) if known else item
        for _, refusal in self._refused:
            loss = loss_of(refusal.row, refusal.cause)
            run = self._work.runs.get(loss.run_id) if loss is not None and loss.run_id is not None else None
            if loss is not None and run is not None and run.key in self._days:
                key = (run.key, loss.cause, loss.what, loss.subject)
                # Without sources: when the loss is refused too, its row has been named already.
                new = Item(key, loss_state(loss, run.state.received_us), [])
                if known := items.get(key):
                    new = known._replace(state=merge_losses(known.state, new.state))
                items[key] = new
        self._land(cursor, Losses(), items.values())
        self._refuse(land(cursor, SenderLosses(), list(self._work.sender_losses.values())).refused)
        self._refuse(land(cursor, Schemas(), list(self._work.schemas.values())).refused)

    def _refuse(self, refused: Iterable[tuple[Item[Any], str]]) -> None:
        for item, why in refused:
            cause = _CAUSES.get(why, "refused")
            self.found_no_partition |= why.startswith(NO_PARTITION)
            self._refused += [(source.batch, Refused(source.copy, why, cause)) for source in item.sources]


def _is_news(known: KnownRun, work: RunWork) -> bool:
    """Whether the run's row must be looked at; evidence and most steps change nothing in it."""
    if any(isinstance(source.copy, RunCopy | RunWait) for source in work.sources):
        return True
    stale = work.state.last_received_us - known.state.last_received_us > known.news_interval_us
    return stale or not adds_nothing(known.state, work.state)


def _news_interval_us(state: RunState) -> int:
    sent = (ranked.copy.timeout_s for ranked in (state.terminal, state.start) if ranked is not None)
    timeout_s = next((timeout_s for timeout_s in sent if timeout_s is not None), math.inf)
    return int(min(_NEWS_INTERVAL_US, timeout_s * 1_000_000 * _NEWS_SHARE_OF_TIMEOUT))


def _size(batch: Batch) -> int:
    of_runs = (batch.runs, batch.waits, batch.heartbeats, batch.losses)
    return sum(
        map(len, (*of_runs, batch.steps, batch.decisions, batch.artifacts, batch.outcomes, batch.schemas))
    )
