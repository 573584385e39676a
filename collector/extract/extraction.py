"""
What one request comes to: rows, and counts of what made none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from collector.extract.foreign import Inference
from collector.extract.identity import Refusal
from store.losses import loss_of
from store.rows import (
    Artifact,
    Batch,
    DecisionChunk,
    Loss,
    Outcome,
    Row,
    RunCopy,
    RunHeartbeat,
    RunWait,
    SchemaVersion,
    StepCopy,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on evidence, enforced on arrival."""

    max_artifact_bytes: int = 1024 * 1024
    max_decisions_per_step: int = 1_000_000


DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class Extraction:
    """Filled record by record by one thread; the lists become the ``Batch`` unchanged."""

    received_ns: int
    limits: Limits = DEFAULT_LIMITS
    inference: Inference | None = None
    """Reads spans by other names than ours; None: nobody does."""
    runs: list[RunCopy] = field(default_factory=list)
    waits: list[RunWait] = field(default_factory=list)
    heartbeats: list[RunHeartbeat] = field(default_factory=list)
    steps: list[StepCopy] = field(default_factory=list)
    decisions: list[DecisionChunk] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    schemas: list[SchemaVersion] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)
    """Records by what they are to us: ``run``, ``step``, ``member``, ``foreign``, an event's name …"""
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    of_nobody: defaultdict[tuple[str, str, str | None, str | None], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Hashes of copies that are lost and do not tell their run, by cause, kind, pipeline and service."""

    def refuse(self, reason: str, message: str) -> None:
        """Note a record that is not stored."""
        self.refused.append(Refusal(reason, message))

    def warn(self, message: str) -> None:
        """Note, once, what the sender should know of a request that is taken."""
        if message not in self.warnings:
            self.warnings.append(message)

    def lose(self, row: Row, cause: str, lost: int | None = None) -> None:
        """Write into the loss ledger that a row is not stored; lost: how many, where the row does not say."""
        loss = loss_of(row, cause)
        if loss is not None:
            self.losses.append(loss if lost is None else loss._replace(lost=lost))

    def lose_of_nobody(self, copy: RunCopy | StepCopy, cause: str) -> None:
        """Write into the ledger that a copy is not stored, which does not even tell its run."""
        what = "runs" if isinstance(copy, RunCopy) else "steps"
        self.of_nobody[cause, what, copy.pipeline, copy.service_name].append(copy.sent_hash or 0)

    def take_decisions(self, chunk: DecisionChunk, sent_count: int | None = None) -> Refusal | None:
        """
        Add a chunk unless it lies past the step's limit; return what of it cannot be used.

        Chunks may come in any order and through several collectors, so a chunk is judged by what a
        step with as many chunks of its size would have. sent_count: its candidates, as the sender
        says, for a chunk that could not be read.
        """
        subject, limit = f"decisions of step {chunk.step_id!r}", self.limits.max_decisions_per_step
        if (chunk.chunk_index + 1) * max(1, chunk.item_count) > limit:
            self.lose(chunk, "over_limit", sent_count if chunk.error else None)
            return Refusal("capture_limit", f"{subject}: more than XRAY_MAX_DECISIONS_PER_STEP={limit}")
        self.decisions.append(chunk)
        if chunk.error is None:
            return None
        self.lose(chunk, "refused", sent_count)
        return Refusal("decisions_unreadable", f"{subject}: {chunk.error}")

    def take_artifact(self, artifact: Artifact) -> Refusal | None:
        """Add an artifact unless it is too large; return what of it cannot be used."""
        limit = self.limits.max_artifact_bytes
        if artifact.data is None or artifact.size_bytes <= limit:
            self.artifacts.append(artifact)
            return None
        self.lose(artifact, "over_limit")
        return Refusal(
            "artifact",
            f"artifact of run {artifact.run_id}: {artifact.size_bytes} bytes exceed "
            f"XRAY_MAX_ARTIFACT_BYTES={limit}; send a URL",
        )

    def is_empty(self) -> bool:
        """Tell whether there is nothing to store."""
        of_runs = (self.runs, self.waits, self.heartbeats, self.losses, self.of_nobody)
        of_steps = (self.steps, self.decisions, self.artifacts)
        return not any((*of_runs, *of_steps, self.outcomes, self.schemas))

    def batch(self, size_bytes: int) -> Batch:
        """Return the rows as the store takes them; size_bytes: of the request after decompression."""
        return Batch(
            received_ns=self.received_ns,
            runs=self.runs,
            waits=self.waits,
            heartbeats=self.heartbeats,
            steps=self.steps,
            decisions=self.decisions,
            artifacts=self.artifacts,
            losses=[*self.losses, *self._losses_of_nobody()],
            schemas=self.schemas,
            outcomes=self.outcomes,
            size_bytes=size_bytes,
        )

    def _losses_of_nobody(self) -> Iterator[Loss]:
        """One entry per kind, named by a hash of what it counts, so that a repeated request counts once."""
        for (cause, what, pipeline, service), hashes in self.of_nobody.items():
            named = repr((cause, what, pipeline, service, sorted(hashes))).encode("utf-8", "surrogatepass")
            report_id = blake2b(named, digest_size=16).hexdigest()
            yield Loss(None, cause, what, report_id, len(hashes), pipeline=pipeline, service_name=service)

    def flags(self) -> Counter[str]:
        """Return how often each flag was raised."""
        copies: Iterable[RunCopy | RunHeartbeat | StepCopy] = chain(self.runs, self.heartbeats, self.steps)
        return Counter([flag.code for copy in copies for flag in copy.flags])
