"""
One OTLP request from its bytes to its answer, the same for both transports.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from time import time_ns

from collector.decode import otlp_json, protobuf
from collector.errors import IntakeFull, IntakeStopped, Undecodable
from collector.extract.events import extract_events
from collector.extract.extraction import Extraction, Limits
from collector.extract.spans import extract_spans
from collector.intake import Intake
from collector.responses import JSON, Outcome, Result, Signal
from collector.telemetry import Telemetry
from store.errors import Unavailable
from store.rows import Refused, WriteResult

_log = logging.getLogger(__name__)

WAIT_MARGIN_S = 0.5
"""The intake gives up first, and says why; this only bounds the wait for a database that hangs."""


class Receiver:
    """Decodes, extracts, hands over and waits for the commit; any thread may call it."""

    def __init__(
        self,
        intake: Intake,
        telemetry: Telemetry,
        limits: Limits,
        write_timeout_s: float,
        clock: Callable[[], int] = time_ns,
    ) -> None:
        """clock: nanoseconds since the Unix epoch."""
        self._intake = intake
        self._telemetry = telemetry
        self._limits = limits
        self._write_timeout_s = write_timeout_s
        self._clock = clock
        # Eight threads that parse at once lose a quarter of their time to hand-overs of the interpreter
        # lock; one at a time loses none.
        self._parsing = threading.Lock()

    def receive(self, signal: Signal, encoding: str, body: bytes, timeout_s: float | None = None) -> Result:
        """
        Return what became of a request, after the commit; never raises.

        encoding: ``responses.PROTOBUF`` or ``responses.JSON``. timeout_s: how long the sender waits.
        """
        timeout_s = min(self._write_timeout_s, timeout_s or self._write_timeout_s)
        try:
            result = self._receive(signal, encoding, body, timeout_s)
        except Undecodable as exc:
            result = Result(Outcome.MALFORMED, (str(exc),))
        except IntakeFull as exc:
            result = Result(Outcome.OVERLOADED, (str(exc),))
        except (IntakeStopped, Unavailable) as exc:
            result = Result(Outcome.UNAVAILABLE, (str(exc),))
        except TimeoutError:
            result = Result(Outcome.UNAVAILABLE, (f"the database did not answer within {timeout_s:g} s",))
        except Exception:  # noqa: BLE001  # the edge of the request
            # Unknown is answered to the sender as "may pass": anything else makes it drop its data.
            _log.exception("a request failed for a reason of our own")
            result = Result(Outcome.UNAVAILABLE, ("the collector failed; its log says how",))
        self.count(result)
        return result

    def count(self, result: Result) -> None:
        """Count an answer."""
        self._telemetry.add("requests", result.outcome.value)

    def _receive(self, signal: Signal, encoding: str, body: bytes, timeout_s: float) -> Result:
        with self._parsing:
            extraction, warnings = self._read(signal, encoding, body)
        self._count(extraction, len(body))
        messages = [refusal.message for refusal in extraction.refused]
        rejected = len(messages)
        if not extraction.is_empty():
            written = self._write(extraction, len(body), timeout_s)
            messages += [in_words(refused) for refused in written.refused]
            rejected += len(written.refused)
            if written.refused:
                self._telemetry.add("refused", "database", len(written.refused))
        return Result(Outcome.STORED, (*messages, *warnings), rejected)

    def _read(self, signal: Signal, encoding: str, body: bytes) -> tuple[Extraction, list[str]]:
        extraction = Extraction(self._clock(), self._limits)
        decoder = otlp_json if encoding == JSON else protobuf
        # Not one branch with a common name: the two kinds of records are different types.
        if signal is Signal.TRACES:
            spans = decoder.decode_traces(body)
            extract_spans(spans.records, extraction)
            foreign, undecodable, recognised = spans.foreign, spans.undecodable, spans.recognised
        else:
            logs = decoder.decode_logs(body)
            extract_events(logs.records, extraction)
            foreign, undecodable, recognised = logs.foreign, logs.undecodable, logs.recognised
        if foreign:
            extraction.records["foreign"] += foreign
        for message in undecodable:
            extraction.refuse("undecodable", message)
        if recognised:
            return extraction, []
        return extraction, [f"the body holds no {signal.name.lower()}: was it meant for another path?"]

    def _write(self, extraction: Extraction, size_bytes: int, timeout_s: float) -> WriteResult:
        future = self._intake.submit(extraction.batch(size_bytes), timeout_s)
        try:
            return future.result(timeout_s + WAIT_MARGIN_S)
        except TimeoutError:
            future.cancel()
            raise

    def _count(self, extraction: Extraction, size_bytes: int) -> None:
        self._telemetry.add("bytes", "otlp", size_bytes)
        self._telemetry.add_all("records", extraction.records)
        self._telemetry.add_all("refused", Counter(refusal.reason for refusal in extraction.refused))
        self._telemetry.add_all("flags", extraction.flags())


def in_words(refused: Refused) -> str:
    """Return what the database would not take, for the sender."""
    row = refused.row
    step_id = getattr(row, "step_id", None)
    where = f"run {row.run_id}" + (f", step {step_id}" if step_id else "")
    return f"{type(row).__name__} of {where}: {refused.reason}"
