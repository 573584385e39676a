"""
The copies of several batches as one state per key: what a transaction brings into the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from store.faults import ROW_REFUSED, reason
from store.ids import artifact_key, run_key_bytes
from store.kinds import ArtifactState, ChunkState, chunk_state, day_of, merge_artifacts, merge_chunks
from store.landing import Item, Source
from store.merge import (
    RunState,
    StepState,
    bare_run,
    heartbeat_state,
    merge_runs,
    merge_steps,
    run_state,
    step_state,
    steps_say,
    wait_state,
)
from store.rows import Artifact, Batch, DecisionChunk, Refused, Row, RunCopy, RunHeartbeat, RunWait, StepCopy

State = TypeVar("State")


@dataclass(slots=True)
class RunWork:
    """What the batches say about one run."""

    key: bytes
    state: RunState
    """Run copies, waits, heartbeats and what the steps say, merged."""
    sources: list[Source] = field(default_factory=list)
    """Run copies, waits and heartbeats; empty when only the run's children are here."""
    first_batch: int = 0


@dataclass(slots=True)
class Work:
    """
    Everything to be stored, by key; keys of children lack ``run_day`` yet, which the runs decide.
    """

    runs: dict[str, RunWork] = field(default_factory=dict)
    steps: dict[tuple[Any, ...], Item[StepState]] = field(default_factory=dict)
    decisions: dict[tuple[Any, ...], Item[ChunkState]] = field(default_factory=dict)
    artifacts: dict[tuple[Any, ...], Item[ArtifactState]] = field(default_factory=dict)
    blobs: dict[tuple[Any, ...], Item[ArtifactState]] = field(default_factory=dict)
    refused: list[tuple[int, Refused]] = field(default_factory=list)
    """(batch, refusal) of copies that cannot even be put into a canonical form."""
    days: set[date] = field(default_factory=set)


def assemble(batches: Sequence[Batch]) -> Work:
    """Merge what belongs together; reads nothing but the batches and changes none of them."""
    work = Work()
    for number, batch in enumerate(batches):
        received_us = batch.received_ns // 1000
        work.days.add(day_of(received_us))
        _runs(work, number, batch.runs, run_state, received_us)
        _runs(work, number, batch.waits, wait_state, received_us)
        _runs(work, number, batch.heartbeats, heartbeat_state, received_us)
        _steps(work, number, batch.steps, received_us)
        _decisions(work, number, batch.decisions, received_us)
        _artifacts(work, number, batch.artifacts, received_us)
    return work


def _run(work: Work, number: int, run_id: str, received_us: int) -> RunWork:
    run = work.runs.get(run_id)
    if run is None:
        run = RunWork(run_key_bytes(run_id), bare_run(run_id, received_us), first_batch=number)
        work.runs[run_id] = run
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
            _refuse(work, number, copy, error)
            continue
        run = _run(work, number, copy.run_id, received_us)
        run.state = merge_runs(run.state, state)
        run.sources.append(Source(number, copy))


def _steps(work: Work, number: int, copies: Sequence[StepCopy], received_us: int) -> None:
    by_run: dict[str, list[StepCopy]] = {}
    for copy in copies:
        try:
            state = step_state(copy, received_us)
        except ROW_REFUSED as error:
            _refuse(work, number, copy, error)
            continue
        by_run.setdefault(copy.run_id, []).append(copy)
        key = (_run(work, number, copy.run_id, received_us).key, copy.step_id, copy.attempt_key)
        _add(work.steps, key, state, Source(number, copy), merge_steps)
    for run_id, of_run in by_run.items():
        run = work.runs[run_id]
        run.state = merge_runs(run.state, steps_say(run_id, of_run, received_us))


def _decisions(work: Work, number: int, chunks: Sequence[DecisionChunk], received_us: int) -> None:
    for chunk in chunks:
        try:
            state = chunk_state(chunk, received_us)
        except ROW_REFUSED as error:
            _refuse(work, number, chunk, error)
            continue
        run = _run(work, number, chunk.run_id, received_us)
        key = (run.key, chunk.step_id, chunk.attempt_key, chunk.chunk_index)
        _add(work.decisions, key, state, Source(number, chunk), merge_chunks)


def _artifacts(work: Work, number: int, artifacts: Sequence[Artifact], received_us: int) -> None:
    for artifact in artifacts:
        run = _run(work, number, artifact.run_id, received_us)
        source = Source(number, artifact)
        state = ArtifactState(1, received_us, artifact)
        _add(work.artifacts, (run.key, artifact_key(artifact).bytes), state, source, merge_artifacts)
        if artifact.data is not None:
            _add(work.blobs, (run.key, artifact.sha256), state, source, merge_artifacts)


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


def _refuse(work: Work, number: int, copy: Row, error: Exception) -> None:
    work.refused.append((number, Refused(copy, reason(error))))
