"""
The copies of several batches as one state per key: what a transaction brings into the tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from typing import Any, TypeVar

from store.copies import content_hash
from store.faults import ROW_REFUSED, reason
from store.ids import artifact_key, run_key_bytes
from store.kinds import ArtifactState, ChunkState, chunk_state, day_of, merge_artifacts, merge_chunks
from store.lone import Lone, StepKey, item_of
from store.losses import LossState, loss_state, merge_losses
from store.merge import (
    RunState,
    StepState,
    bare_run,
    heartbeat_state,
    merge_runs,
    merge_steps,
    run_state,
    steps_say,
    wait_state,
)
from store.outcomes import OutcomeState, merge_outcomes, outcome_key, outcome_state, silent_run
from store.rows import (
    Artifact,
    Batch,
    DecisionChunk,
    Loss,
    Outcome,
    Refused,
    RunCopy,
    RunHeartbeat,
    RunWait,
    StepCopy,
)
from store.schemas import SchemaState, merge_schemas
from store.statements import Item, Source

State = TypeVar("State")

_inferred = attrgetter("inferred")


@dataclass(slots=True)
class RunWork:
    """What the batches say about one run."""

    key: bytes
    state: RunState
    """Run copies, waits, heartbeats and what the steps say, merged."""
    sources: list[Source] = field(default_factory=list)
    """Run copies, waits and heartbeats; empty when only the run's children are here."""
    first_batch: int = 0
    inferred: bool = False
    """Whether one of its steps is inferred."""
    evidence: bool = False
    """Whether decisions, artifacts or losses are here."""


@dataclass(slots=True)
class Work:
    """
    Everything to be stored, by key; keys of children lack ``run_day`` yet, which the runs decide.
    """

    runs: dict[str, RunWork] = field(default_factory=dict)
    steps: dict[StepKey, Lone | Item[StepState]] = field(default_factory=dict)
    decisions: dict[tuple[Any, ...], Item[ChunkState]] = field(default_factory=dict)
    artifacts: dict[tuple[Any, ...], Item[ArtifactState]] = field(default_factory=dict)
    blobs: dict[tuple[Any, ...], Item[ArtifactState]] = field(default_factory=dict)
    losses: dict[tuple[Any, ...], Item[LossState]] = field(default_factory=dict)
    sender_losses: dict[tuple[Any, ...], Item[LossState]] = field(default_factory=dict)
    """Losses that belong to no run, by their whole key."""
    outcomes: dict[tuple[Any, ...], Item[OutcomeState]] = field(default_factory=dict)
    schemas: dict[tuple[Any, ...], Item[SchemaState]] = field(default_factory=dict)
    """Schemas, which belong to no run either."""
    refused: list[tuple[int, Refused]] = field(default_factory=list)
    """(batch, refusal) of copies that cannot even be put into a canonical form."""
    days: set[date] = field(default_factory=set)
    marks: list[int | None] = field(default_factory=list)
    """A number for each batch that holds steps or decisions, the same for one that is sent again."""


def assemble(batches: Sequence[Batch]) -> Work:
    """Merge what belongs together; reads nothing but the batches and changes none of them."""
    work = Work()
    for number, batch in enumerate(batches):
        received_us = batch.received_ns // 1000
        work.days.add(day_of(received_us))
        _runs(work, number, batch.runs, run_state, received_us)
        _runs(work, number, batch.waits, wait_state, received_us)
        _runs(work, number, batch.heartbeats, heartbeat_state, received_us)
        hashes = _steps(work, number, batch.steps, received_us)
        hashes += _decisions(work, number, batch.decisions, received_us)
        work.marks.append(hash(tuple(hashes)) if hashes else None)
        _artifacts(work, number, batch.artifacts, received_us)
        _losses(work, number, batch.losses, received_us)
        _outcomes(work, number, batch.outcomes, received_us)
        for version in batch.schemas:
            state, key = SchemaState(1, received_us, version), tuple(version[:3])
            _add(work.schemas, key, state, Source(number, version), merge_schemas)
    return work


def _run(work: Work, number: int, state: RunState) -> RunWork:
    """The run of this state, which is merged into what is known of it."""
    run = work.runs.get(state.run_id)
    if run is None:
        run = work.runs[state.run_id] = RunWork(run_key_bytes(state.run_id), state, first_batch=number)
    else:
        run.state = merge_runs(run.state, state)
    return run


def _owner(work: Work, number: int, run_id: str, received_us: int) -> RunWork:
    """The run of a piece of evidence, which says nothing about it but that it is there."""
    run = work.runs.get(run_id)
    if run is None:
        run = _run(work, number, bare_run(run_id, received_us))
    run.evidence = True
    return run


def _runs(
    work: Work,
    number: int,
    copies: Iterable[RunCopy | RunWait | RunHeartbeat],
    state_of: Callable[[Any, int], RunState],
    received_us: int,
) -> None:
    for copy in copies:
        try:
            state = state_of(copy, received_us)
        except ROW_REFUSED as error:
            _refuse(work, number, copy, error, received_us)
            continue
        _run(work, number, state).sources.append(Source(number, copy))


def _steps(work: Work, number: int, copies: Sequence[StepCopy], received_us: int) -> list[int]:
    """Note the copies and return their hashes."""
    hashes = []
    by_run: defaultdict[str, list[StepCopy]] = defaultdict(list)
    for copy in copies:
        by_run[copy.run_id].append(copy)
    steps = work.steps
    for run_id, of_run in by_run.items():
        run = _run(work, number, steps_say(run_id, of_run, received_us))
        run_key = run.key
        run.inferred = run.inferred or any(map(_inferred, of_run))
        for copy in of_run:
            hashed = copy.sent_hash
            if hashed is None:
                try:
                    hashed = content_hash(copy)
                except ROW_REFUSED as error:
                    _refuse(work, number, copy, error, received_us)
                    continue
            hashes.append(hashed)
            key = (run_key, copy.step_id, copy.attempt_key)
            lone = (number, copy, received_us, hashed)
            if copy.terminal and key not in steps:  # nearly every step
                steps[key] = lone
            else:
                steps[key] = _merged(steps.get(key), key, lone)
    return hashes


def _merged(known: Lone | Item[StepState] | None, key: StepKey, lone: Lone) -> Item[StepState]:
    item = item_of(key, lone)
    if known is None:
        return item
    if not isinstance(known, Item):
        known = item_of(key, known)
    known.sources.extend(item.sources)
    return known._replace(state=merge_steps(known.state, item.state))


def _decisions(work: Work, number: int, chunks: Sequence[DecisionChunk], received_us: int) -> list[int]:
    """Note the chunks and return their hashes."""
    hashes = []
    for chunk in chunks:
        try:
            state = chunk_state(chunk, received_us)
        except ROW_REFUSED as error:
            _refuse(work, number, chunk, error, received_us)
            continue
        run = _owner(work, number, chunk.run_id, received_us)
        key = (run.key, chunk.step_id, chunk.attempt_key, chunk.chunk_index)
        hashes.append(state.order[1])
        _add(work.decisions, key, state, Source(number, chunk), merge_chunks)
    return hashes


def _artifacts(work: Work, number: int, artifacts: Sequence[Artifact], received_us: int) -> None:
    for artifact in artifacts:
        run = _owner(work, number, artifact.run_id, received_us)
        source = Source(number, artifact)
        state = ArtifactState(1, received_us, artifact)
        _add(work.artifacts, (run.key, artifact_key(artifact).bytes), state, source, merge_artifacts)
        if artifact.data is not None or artifact.object_run_key is not None:
            _add(work.blobs, (run.key, artifact.sha256), state, source, merge_artifacts)


def _losses(work: Work, number: int, losses: Sequence[Loss], received_us: int) -> None:
    for loss in losses:
        source, state = Source(number, loss), loss_state(loss, received_us)
        if loss.run_id is None:
            key: tuple[Any, ...] = (loss.subject, loss.cause, loss.what)
            _add(work.sender_losses, key, state, source, merge_losses)
        else:
            run = _owner(work, number, loss.run_id, received_us)
            _add(work.losses, (run.key, loss.cause, loss.what, loss.subject), state, source, merge_losses)


def _outcomes(work: Work, number: int, outcomes: Sequence[Outcome], received_us: int) -> None:
    for outcome in outcomes:
        try:
            state = outcome_state(outcome, received_us)
        except ROW_REFUSED as error:
            _refuse(work, number, outcome, error, received_us)
            continue
        run = work.runs.get(outcome.run_id) or _run(work, number, silent_run(outcome.run_id, received_us))
        _add(work.outcomes, outcome_key(run.key, outcome), state, Source(number, outcome), merge_outcomes)


def _add(
    items: dict[tuple[Any, ...], Item[State]],
    key: tuple[Any, ...],
    state: State,
    source: Source,
    merge: Callable[[State, State], State],
) -> None:
    item = items.get(key)
    if item is None:
        items[key] = Item(key, state, [source])
    else:
        item.sources.append(source)
        items[key] = item._replace(state=merge(item.state, state))


def _refuse(
    work: Work,
    number: int,
    copy: RunCopy | RunWait | RunHeartbeat | StepCopy | DecisionChunk | Outcome,
    error: Exception,
    received_us: int,
) -> None:
    # The run is there all the same: it is where the ledger says what was refused.
    _owner(work, number, copy.run_id, received_us)
    work.refused.append((number, Refused(copy, reason(error))))
