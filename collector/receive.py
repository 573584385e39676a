"""
One OTLP request from its bytes to its answer, the same for both transports.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic, time_ns
from typing import NamedTuple

from collector.errors import (
    BodyTooSlow,
    IntakeFull,
    IntakeStopped,
    ReceptionFull,
    TooLarge,
    Undecodable,
)
from collector.extract.extraction import Extraction, Limits
from collector.extract.foreign import Inference
from collector.intake import Intake
from collector.lanes import Lanes
from collector.reading import RequestReader
from collector.responses import Outcome, Result, Signal
from collector.telemetry import Telemetry
from store.errors import Unavailable
from store.rows import Refused, SchemaVersion, WriteResult

_log = logging.getLogger(__name__)

_THREADS = 4
"""Decompress and decode; more would only wait for the interpreter, and hold what they decompressed."""
WAIT_MARGIN_S = 0.5
"""The intake gives up first, and says why; this only bounds the wait for a database that hangs."""


class Taken(NamedTuple):
    """A request that was read: nothing of its body is held any more."""

    result: Result
    """The answer when nothing waits to be written; else what is said beside the commit."""
    written: Future[WriteResult] | None = None
    timeout_s: float = 0.0
    """How long the commit may take."""
    since_s: float | None = None
    """When the whole body was there, by ``monotonic``; None: it never was."""


class Receiver:
    """
    Decodes, extracts, hands over and waits for the commit.

    Two steps, so that whoever waits for a commit holds neither a thread nor the request's bytes.
    """

    def __init__(
        self,
        intake: Intake | Lanes,
        telemetry: Telemetry,
        limits: Limits,
        write_timeout_s: float,
        clock: Callable[[], int] = time_ns,
        inference: Inference | None = None,
    ) -> None:
        """clock: nanoseconds since the Unix epoch. inference: reads spans by other names than ours."""
        self._reader = RequestReader(limits, inference)
        self._intake = intake
        self._telemetry = telemetry
        self._write_timeout_s = write_timeout_s
        self._clock = clock
        # Eight threads that parse at once lose a quarter of their time to hand-overs of the interpreter
        # lock; one at a time loses none.
        self._parsing = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="xray-decode")

    async def take(
        self, signal: Signal, encoding: str, body: Callable[[], bytes], timeout_s: float | None = None
    ) -> Taken:
        """
        Decode a request, extract its rows and queue them; never raises.

        body: called in a thread; it decompresses and may raise what ``failure`` knows. encoding:
        ``responses.PROTOBUF`` or ``responses.JSON``. timeout_s: how long the sender waits.
        """
        timeout_s = min(self._write_timeout_s, timeout_s or self._write_timeout_s)
        run = copy_context().run  # with the request's id
        loop = asyncio.get_running_loop()
        since_s = monotonic()
        try:
            taken = await loop.run_in_executor(
                self._threads, run, self._take, signal, encoding, body, timeout_s
            )
        except Exception as exc:  # noqa: BLE001  # the edge of the request
            taken = Taken(failure(exc))
        return taken._replace(since_s=since_s)

    async def answer(self, taken: Taken) -> Result:
        """Return what became of a request, after its commit, and count it; never raises."""
        result = taken.result
        if taken.written is not None:
            try:
                async with asyncio.timeout(taken.timeout_s + WAIT_MARGIN_S):
                    written = await asyncio.wrap_future(taken.written)
            except TimeoutError:
                message = f"the database did not answer within {taken.timeout_s:g} s"
                result = Result(Outcome.UNAVAILABLE, (message,))
            except Exception as exc:  # noqa: BLE001  # the edge of the request
                result = failure(exc)
            else:
                result = self._with_refused(result, written)
        if taken.since_s is not None:
            self._telemetry.observe("request_duration_seconds", monotonic() - taken.since_s, "otlp")
        self.count(result)
        return result

    def close(self) -> None:
        """End the threads; nothing is taken any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def count(self, result: Result) -> None:
        """Count an answer."""
        self._telemetry.add("requests", result.outcome.value)

    def _take(self, signal: Signal, encoding: str, read: Callable[[], bytes], timeout_s: float) -> Taken:
        body = read()
        with self._parsing:
            extraction, warnings = self._reader.read(signal, encoding, body, self._clock())
        self._count(extraction, len(body))
        messages = [refusal.message for refusal in extraction.refused]
        result = Result(Outcome.STORED, (*messages, *warnings), len(messages))
        if extraction.is_empty():
            return Taken(result)
        return Taken(result, self._intake.submit(extraction.batch(len(body)), timeout_s), timeout_s)

    def _with_refused(self, result: Result, written: WriteResult) -> Result:
        """Add what the database would not take."""
        if not written.refused:
            return result
        self._telemetry.add_all("refused", Counter(map(counted_as, written.refused)))
        messages = [in_words(refused) for refused in written.refused]
        return result._replace(
            messages=(*result.messages, *messages), rejected=result.rejected + len(messages)
        )

    def _count(self, extraction: Extraction, size_bytes: int) -> None:
        self._telemetry.add("bytes", "otlp", size_bytes)
        self._telemetry.add_all("records", extraction.records)
        self._telemetry.add_all("refused", Counter(refusal.reason for refusal in extraction.refused))
        self._telemetry.add_all("flags", extraction.flags())


def failure(exc: Exception) -> Result:
    """Return the answer to a request that ended so."""
    if isinstance(exc, TooLarge):
        return Result(Outcome.TOO_LARGE, (str(exc),))
    if isinstance(exc, Undecodable):
        return Result(Outcome.MALFORMED, (str(exc),))
    if isinstance(exc, IntakeFull | ReceptionFull):
        return Result(Outcome.OVERLOADED, (str(exc),))
    if isinstance(exc, IntakeStopped | BodyTooSlow | Unavailable):
        return Result(Outcome.UNAVAILABLE, (str(exc),))
    # Unknown is answered to the sender as "may pass": anything else makes it drop its data.
    _log.error("a request failed for a reason of our own", exc_info=exc)
    return Result(Outcome.UNAVAILABLE, ("the collector failed; its log says how",))


def counted_as(refused: Refused) -> str:
    """Return the reason of the metric ``refused``."""
    return "database" if refused.cause == "refused" else refused.cause


def in_words(refused: Refused) -> str:
    """Return what the database would not take, for the sender."""
    row = refused.row
    if isinstance(row, SchemaVersion):
        return f"version {row.version} of schema {row.schema_id}: {refused.reason}"
    step_id = getattr(row, "step_id", None)
    where = f"run {row.run_id}" + (f", step {step_id}" if step_id else "")
    return f"{type(row).__name__} of {where}: {refused.reason}"
