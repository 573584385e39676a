"""Writes artifacts whose payloads go to the object store: first the object, then the row that names it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from time import monotonic

import psycopg

from store.artifact_limit import DEFAULT_MAX_ARTIFACTS
from store.artifacts import locks
from store.artifacts.objects import ObjectKey, ObjectStore, StoreAway
from store.errors import Unavailable
from store.ids import run_key_bytes
from store.losses import loss_of
from store.rows import Artifact, Batch, Refused, WriteResult
from store.writer import PostgresWriter

_log = logging.getLogger(__name__)

AWAY = "store_away"
_PUTS_AT_ONCE = 8
_SLOT_WAIT_S = 1.0
"""Deleting holds a slot for one request; whoever cannot put for so long gives up."""
_PAUSE_S = 15.0
"""How long nothing is tried after the object store did not do it."""

Count = Callable[[str, int], None]
"""Told a result (put, known, store_away) and how many artifacts it befell, once their rows are committed."""


def _nobody(_result: str, _count: int) -> None:
    pass


class Breaker:
    """Remembers that a store is away, so that not everybody waits to find out."""

    def __init__(self, pause_s: float = _PAUSE_S) -> None:
        self._pause_s = pause_s
        self._away_until = 0.0

    @property
    def open(self) -> bool:
        """Whether the store is not to be asked now."""
        return monotonic() < self._away_until

    def note(self, *, away: bool) -> None:
        """Note what came of asking."""
        self._away_until = monotonic() + self._pause_s if away else 0.0


class PlacingWriter(PostgresWriter):
    """
    A ``Writer`` that puts each payload into an object store before the transaction that refers to it.

    For batches that hold artifacts alone, all of whose payloads are to go there: whoever shares a
    transaction with them waits for the object store. What cannot be put in time is committed as lost.
    """

    def __init__(
        self,
        url: str,
        objects: ObjectStore,
        max_artifacts_per_run: int = DEFAULT_MAX_ARTIFACTS,
        *,
        timeout_s: float,
        breaker: Breaker | None = None,
        count: Count = _nobody,
    ) -> None:
        """timeout_s: for all puts of a transaction together."""
        super().__init__(url, None, max_artifacts_per_run)
        self._objects = objects
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._count = count
        self._holding = False
        """Whether the locks of what was put hang on the connection that is open."""
        self._threads = ThreadPoolExecutor(_PUTS_AT_ONCE, thread_name_prefix="xray-artifacts")

    def write(self, batches: Sequence[Batch]) -> Sequence[WriteResult]:
        payloads = _payloads(batches)
        try:
            there, counts = self._place(payloads)
            placed = [_placed(batch, there) for batch in batches]
            results = super().write([batch for batch, _ in placed])
        except psycopg.Error as error:
            self._disconnect()
            raise Unavailable("the database cannot be reached") from error
        finally:
            self._release()
        for result, count in counts.items():
            self._count(result, count)
        return [
            replace(result, refused=[_as_it_came(each, came) for each in result.refused])
            for result, (_, came) in zip(results, placed, strict=True)
        ]

    def close(self) -> None:
        super().close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _connect(self) -> psycopg.Connection:
        if self._holding and self._connection is None:
            # The locks went with the connection: what was put may be deleted before we refer to it.
            self._holding = False
            raise Unavailable("the database closed the connection; the payloads must be looked for again")
        return super()._connect()

    def _place(self, payloads: Mapping[ObjectKey, bytes]) -> tuple[set[ObjectKey], Counter[str]]:
        """Return which payloads are in the object store until ``_release``, and how they came there."""
        if not payloads:
            return set(), Counter()
        if self._breaker.open:
            return set(), Counter({AWAY: len(payloads)})
        connection = self._alive()
        erased = self._erasures.look(connection).runs
        self._holding = True
        until = monotonic() + self._timeout_s
        slots = locks.hold(connection, {key.slot for key in payloads}, min(_SLOT_WAIT_S, self._timeout_s))
        free = [key for key in payloads if key.slot in slots]
        # Those of erased runs are refused by the transaction.
        known = locks.referred(connection, free) | {key for key in payloads if key.run_key in erased}
        put = self._put({key: payloads[key] for key in free if key not in known}, until)
        counts = Counter({"put": len(put), "known": len(known), AWAY: len(payloads) - len(put | known)})
        return put | known, +counts

    def _alive(self) -> psycopg.Connection:
        """The connection; one that died while nothing was to be written is replaced."""
        connection = self._connect()
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            self._disconnect()
            connection = self._connect()
        return connection

    def _put(self, payloads: Mapping[ObjectKey, bytes], until: float) -> set[ObjectKey]:
        if not payloads:
            return set()
        puts = {
            self._threads.submit(self._objects.put_new, str(key), data): key for key, data in payloads.items()
        }
        done, late = wait(puts, max(0.0, until - monotonic()))
        for future in late:
            # One that has begun goes on, and leaves an object that nothing refers to.
            future.cancel()
        there = {puts[future] for future in done if _went_well(future)}
        away = len(there) < len(payloads)
        if away:
            _log.warning(
                "payloads of artifacts are lost: the object store is away or slow",
                extra={"place": self._objects.place, "lost": len(payloads) - len(there)},
            )
        self._breaker.note(away=away)
        return there

    def _release(self) -> None:
        holding, self._holding = self._holding, False
        if holding and self._connection is not None:
            try:
                locks.release(self._connection)
            except psycopg.Error:
                self._disconnect()


def _payloads(batches: Iterable[Batch]) -> dict[ObjectKey, bytes]:
    return {
        _key_of(artifact): artifact.data
        for batch in batches
        for artifact in batch.artifacts
        if artifact.data is not None
    }


def _key_of(artifact: Artifact) -> ObjectKey:
    return ObjectKey(run_key_bytes(artifact.run_id), artifact.sha256)


def _placed(batch: Batch, there: set[ObjectKey]) -> tuple[Batch, dict[int, Artifact]]:
    """Return the batch as it is to be committed, and by identity of its artifacts what they came as."""
    artifacts, losses, came = [], list(batch.losses), {}
    for artifact in batch.artifacts:
        if artifact.data is None:
            artifacts.append(artifact)
        elif _key_of(artifact) in there:
            placed = artifact._replace(data=None, object_run_key=run_key_bytes(artifact.run_id))
            artifacts.append(placed)
            came[id(placed)] = artifact
        elif (loss := loss_of(artifact, AWAY)) is not None:
            losses.append(loss)
    return replace(batch, artifacts=artifacts, losses=losses), came


def _as_it_came(refused: Refused, came: Mapping[int, Artifact]) -> Refused:
    row = came.get(id(refused.row))
    return refused if row is None else replace(refused, row=row)


def _went_well(future: Future[bool]) -> bool:
    error = future.exception()
    if error is not None and not isinstance(error, StoreAway):
        _log.error("a payload was not put for a reason that is not known", exc_info=error)
    return error is None
