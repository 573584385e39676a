"""
Keeps what waits for the object store apart from what does not.

A request that carries large payloads is written in two transactions: its metrics, decisions and small
payloads at once as any other's, its large payloads by a queue of their own, bounded on its own, whose
writer puts them into the object store first. The request is acknowledged when both are committed.
Decision 0045.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import fields, replace
from time import monotonic

from collector.intake import Intake
from store.rows import Artifact, Batch, WriteResult

LARGE_MAX_BYTES = 64 * 1024 * 1024
"""What may wait for the object store; from half of it on payloads that arrive are shed."""

_ROWS = tuple(field.name for field in fields(Batch) if field.name not in ("received_ns", "size_bytes"))


class Lanes:
    """Takes batches as an ``Intake`` does, and gives each part to the one that it belongs to."""

    def __init__(self, intake: Intake, large: Intake, inline_bytes: int) -> None:
        """large: its writer puts payloads. inline_bytes: up to which size they lie in the database."""
        self._intake = intake
        self._large = large
        self._inline_bytes = inline_bytes

    def start(self) -> None:
        """Start writing; safe to call twice."""
        self._intake.start()
        self._large.start()

    @property
    def waiting_bytes(self) -> int:
        """Memory of what is queued or being written, in bytes, about."""
        return self._intake.waiting_bytes + self._large.waiting_bytes

    def submit(self, batch: Batch, timeout_s: float | None = None) -> Future[WriteResult]:
        """As ``Intake.submit``; when one part cannot be stored, all of the request is to come again."""
        large = [artifact for artifact in batch.artifacts if self._is_large(artifact)]
        if not large:
            return self._intake.submit(batch, timeout_s)
        payloads = Batch(
            batch.received_ns, artifacts=large, size_bytes=sum(len(each.data or b"") for each in large)
        )
        rest = replace(
            batch,
            artifacts=[artifact for artifact in batch.artifacts if not self._is_large(artifact)],
            size_bytes=max(0, batch.size_bytes - payloads.size_bytes),
        )
        if not any(getattr(rest, rows) for rows in _ROWS):
            return self._large.submit(payloads, timeout_s)
        return _both(self._intake.submit(rest, timeout_s), self._large.submit(payloads, timeout_s))

    def stop(self, deadline_s: float) -> bool:
        """As ``Intake.stop``."""
        until = monotonic() + deadline_s
        # Payloads are put while the rest is written: each has threads of its own.
        written = self._intake.stop(deadline_s)
        return self._large.stop(max(0.0, until - monotonic())) and written

    def _is_large(self, artifact: Artifact) -> bool:
        return artifact.data is not None and len(artifact.data) > self._inline_bytes


def _both(one: Future[WriteResult], other: Future[WriteResult]) -> Future[WriteResult]:
    """Return what becomes of both: the first failure, else the results as one."""
    joined: Future[WriteResult] = Future()

    def second_done(_: Future[WriteResult]) -> None:
        # A receiver that waited long enough has cancelled it and answered already.
        if not joined.set_running_or_notify_cancel():
            return
        error = one.exception() or other.exception()
        if error is not None:
            joined.set_exception(error)
        else:
            joined.set_result(_sum(one.result(), other.result()))

    # One after the other: so the second to be done is the one that tells.
    one.add_done_callback(lambda _: other.add_done_callback(second_done))
    return joined


def _sum(one: WriteResult, other: WriteResult) -> WriteResult:
    return WriteResult(
        one.stored + other.stored,
        (*one.refused, *other.refused),
        one.created_runs | other.created_runs,
    )
