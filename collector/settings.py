"""
Settings of the collector: where it listens, how much it takes, who may send.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import field_validator
from pydantic_settings import NoDecode

from collector.extract.extraction import Limits
from collector.inference.infer import CONVENTIONS, SpanInference
from collector.inference.mapping import NO_MAPPING
from collector.inference.mapping_file import MAPPING_FORM, accepted
from store.access.settings import ListenSettings
from store.settings import setting

_PORT = "a port from 1 to 65535 (0 = any free port)"
_MIB = 1024 * 1024


class CollectorSettings(ListenSettings):
    """Where telemetry is taken in, and its limits."""

    grpc_port: int = setting(4317, "Port of OTLP/gRPC.", accepted=_PORT, ge=0, le=65535)
    http_port: int = setting(4318, "Port of OTLP/HTTP.", accepted=_PORT, ge=0, le=65535)
    max_request_bytes: int = setting(
        64 * _MIB,
        "Largest request, in bytes after decompression (OTLP 1.11 recommends 64 MiB).",
        accepted="a number of bytes from 1024 to 1073741824",
        ge=1024,
        le=1024 * _MIB,
    )
    receive_max_bytes: int = setting(
        96 * _MIB,
        "Bytes of requests that may be on their way in at once, compressed and decompressed; above it "
        "senders are asked to come again. One request of XRAY_MAX_REQUEST_BYTES always passes alone.",
        accepted="a number of bytes, at least 1024",
        ge=1024,
    )
    read_timeout_s: float = setting(
        10.0,
        "Seconds that a sender has for a request's header, and again for its body.",
        accepted="a number of seconds above 0 and up to 600",
        gt=0,
        le=600,
    )
    intake_max_bytes: int = setting(
        96 * _MIB,
        "Memory of what may wait for the database. From half of it on artifacts are shed, from three "
        "quarters on decisions; above it senders are asked to come again.",
        accepted="a number of bytes, at least 1024",
        ge=1024,
    )
    writers: int = setting(
        1,
        "Connections of each collector process that write to the database at the same time.",
        accepted="a number from 1 to 16",
        ge=1,
        le=16,
    )
    processes: int = setting(
        1,
        "Collector processes behind the same ports, each with its own limits (Linux).",
        accepted="a number from 1 to 64",
        ge=1,
        le=64,
    )
    max_artifact_bytes: int = setting(
        _MIB,
        "Largest artifact that is stored, in bytes; bigger ones are refused and counted.",
        accepted="a number of bytes from 0 to 1073741824",
        ge=0,
        le=1024 * _MIB,
    )
    max_decisions_per_step: int = setting(
        1_000_000,
        "Decisions of one step that are stored; chunks past it are refused and counted.",
        accepted="a number of decisions from 0 to 1000000000",
        ge=0,
        le=1_000_000_000,
    )
    max_artifacts_per_run: int = setting(
        1_000,
        "Artifacts of one run that are stored; those past it stand in the loss ledger. All collectors of a "
        "database need the same.",
        accepted="a number of artifacts from 0 to 1000000",
        ge=0,
        le=1_000_000,
    )
    write_timeout_s: float = setting(
        8.0,
        "Seconds that a request waits for its commit before the sender is asked to come again; "
        "shorter than the 10 s that OTLP exporters wait.",
        accepted="a number of seconds above 0 and up to 600",
        gt=0,
        le=600,
    )

    infer: Annotated[tuple[str, ...], NoDecode] = setting(
        CONVENTIONS,
        "Other conventions whose spans become steps, separated by commas; none = only spans with xray.* "
        "and those of XRAY_MAPPING (docs/mapping.md).",
        accepted=f"a list of {', '.join(CONVENTIONS)} separated by commas, or none,",
    )
    mapping: Path | None = setting(
        None,
        "YAML file that says which spans with a team's own names are steps. Read at start.",
        accepted=MAPPING_FORM,
    )

    def limits(self) -> Limits:
        """Return the limits on evidence."""
        return Limits(self.max_artifact_bytes, self.max_decisions_per_step)

    def inference(self) -> SpanInference:
        """Return what reads spans by other names than ours. Raises ``MappingRefused``."""
        return SpanInference(self.infer, NO_MAPPING if self.mapping is None else accepted(self.mapping))

    @field_validator("infer", mode="before")
    @classmethod
    def _split_words(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        words = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        return () if words == ("none",) else words

    @field_validator("infer")
    @classmethod
    def _are_conventions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value).issubset(CONVENTIONS):
            raise ValueError("not a convention")
        return value

    @field_validator("mapping")
    @classmethod
    def _is_mapping(cls, value: Path | None) -> Path | None:
        if value is not None:
            accepted(value)
        return value
