"""
Settings of the collector: where it listens, how much it takes, who may send.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from collector.extract.extraction import Limits
from store.network import is_loopback, is_origin
from store.settings import setting

_PORT = "a port from 1 to 65535 (0 = any free port)"
_MIB = 1024 * 1024


class CollectorSettings(BaseSettings):
    """Where telemetry is taken in, and its limits."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    # Before host, whose check reads it.
    allow_anonymous: bool = setting(
        False,
        "Listen on other interfaces than loopback although nobody who sends or asks is checked.",
        accepted="true or false",
    )
    host: str = setting(
        "127.0.0.1",
        "Address that the servers listen on; anything but loopback needs XRAY_ALLOW_ANONYMOUS=true.",
        accepted="a loopback address (or, with XRAY_ALLOW_ANONYMOUS=true, any address)",
        min_length=1,
    )
    grpc_port: int = setting(4317, "Port of OTLP/gRPC.", accepted=_PORT, ge=0, le=65535)
    http_port: int = setting(4318, "Port of OTLP/HTTP.", accepted=_PORT, ge=0, le=65535)
    max_request_bytes: int = setting(
        64 * _MIB,
        "Largest request, in bytes after decompression (OTLP 1.11 recommends 64 MiB).",
        accepted="a number of bytes from 1024 to 1073741824",
        ge=1024,
        le=1024 * _MIB,
    )
    intake_max_bytes: int = setting(
        256 * _MIB,
        "Bytes of requests that may wait for the database; above it senders are asked to come again.",
        accepted="a number of bytes, at least 1024",
        ge=1024,
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
    write_timeout_s: float = setting(
        8.0,
        "Seconds that a request waits for its commit before the sender is asked to come again; "
        "shorter than the 10 s that OTLP exporters wait.",
        accepted="a number of seconds above 0 and up to 600",
        gt=0,
        le=600,
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (),
        "Origins of web pages that may send and ask, separated by commas; * = any.",
        accepted="a list of origins like https://shop.example, separated by commas (or *)",
    )

    def limits(self) -> Limits:
        """Return the limits on evidence."""
        return Limits(self.max_artifact_bytes, self.max_decisions_per_step)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_origin, value)):
            raise ValueError("not an origin")
        return value

    @field_validator("host")
    @classmethod
    def _is_private(cls, value: str, info: ValidationInfo) -> str:
        if not is_loopback(value) and not info.data.get("allow_anonymous"):
            raise ValueError("not loopback")
        return value
