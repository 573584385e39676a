"""
From the bytes of a request to its rows: decode and extract, no I/O and no waiting.
"""

from __future__ import annotations

from typing import NamedTuple

from collector.decode.otlp_json import JsonDecoder
from collector.decode.protobuf import ProtobufDecoder
from collector.extract.events import extract_events
from collector.extract.extraction import Extraction, Limits
from collector.extract.foreign import Inference
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import Vocabulary
from collector.responses import JSON, Signal


class Reading(NamedTuple):
    """What a request came to."""

    extraction: Extraction
    warnings: tuple[str, ...]
    """For the sender, beside what was refused."""


class RequestReader:
    """Reads one request at a time, of either signal and encoding; remembers attributes between them."""

    def __init__(self, limits: Limits, inference: Inference | None = None) -> None:
        """inference: reads spans by other names than ours."""
        vocabulary, needles = Vocabulary(inference), inference.needles if inference else ()
        self._limits = limits
        self._inference = inference
        self._json = JsonDecoder(vocabulary, needles)
        self._protobuf = ProtobufDecoder(vocabulary, needles)

    def read(self, signal: Signal, encoding: str, body: bytes, received_ns: int) -> Reading:
        """
        Return the rows of a request, and what of it was refused.

        encoding: ``responses.PROTOBUF`` or ``responses.JSON``. received_ns: nanoseconds since the Unix
        epoch. Raises ``Undecodable`` for a body that cannot be read at all, and nothing else.
        """
        extraction = Extraction(received_ns, self._limits, self._inference)
        decoder = self._json if encoding == JSON else self._protobuf
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
            return Reading(extraction, tuple(extraction.warnings))
        noun = signal.name.lower()
        return Reading(extraction, (f"the body holds no {noun}: was it meant for another path?",))
