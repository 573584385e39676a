"""What can be set, by ``configure()`` or by the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal
from urllib.parse import urlsplit

from xray_otel._encode import shown
from xray_otel.errors import SettingsError
from xray_otel.semconv import CAPTURE_LEVELS

Capture = Literal["metrics_only", "sampled", "full"]
Mode = Literal["best_effort", "strict"]
Offline = Literal["buffer", "drop"]
Protocol = Literal["http/protobuf", "grpc"]

DEFAULT_ENDPOINTS: Mapping[str, str] = {
    "http/protobuf": "http://127.0.0.1:4318",
    "grpc": "http://127.0.0.1:4317",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The client's settings. Each is also an environment variable, ``XRAY_`` and its name."""

    endpoint: str = ""
    """URL of the collector; empty: port 4318 of this machine, or 4317 for gRPC."""
    protocol: Protocol = "http/protobuf"
    """``http/protobuf`` or ``grpc``."""
    api_key: str | None = None
    """API key with the scope ``ingest`` (``xray keys create``), sent as bearer token with every request."""
    service_name: str | None = None
    """The program, ``service.name``; None: what OpenTelemetry's own settings say."""
    environment: str | None = None
    """Where the program runs, ``deployment.environment.name``."""
    capture: Capture = "full"
    """Evidence of a step: ``full``, ``sampled`` or ``metrics_only``. Counts are exact in each."""
    mode: Mode = "best_effort"
    """``best_effort``: nothing of X-Ray's raises into the program; ``strict``: misuse and loss raise."""
    offline: Offline = "buffer"
    """While the collector is away: ``buffer`` keeps telemetry within the budget, ``drop`` lets it go."""
    sample_size: int = 50
    """Decisions kept for each pair of verdict and reason when ``capture`` is ``sampled``."""
    buffer_bytes: int = 64 * 1024 * 1024
    """Bytes of telemetry held until it is delivered; evidence is shed first."""
    flush_interval_ms: int = 500
    """Longest wait of a finished step before it is sent; the start of a run waits at most 50 ms."""
    export_timeout_s: float = 3.0
    """Seconds that one request may take."""
    exit_timeout_s: float = 2.0
    """Seconds that the program's exit may be held up to deliver what is left."""
    artifact_bytes: int = 1024 * 1024
    """Largest artifact in bytes; of a larger one only size and hash are sent."""
    disabled: bool = False
    """Record nothing at all. ``OTEL_SDK_DISABLED`` has the same effect."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """
        The settings of the environment; ``overrides`` that are not None win over it.

        Raises SettingsError naming the variable, its value and the accepted form.
        """
        settings, problems = cls.read(environ, **overrides)
        if problems:
            raise problems[0]
        return settings

    @classmethod
    def read(
        cls, environ: Mapping[str, str] | None = None, **overrides: Any
    ) -> tuple[Settings, tuple[SettingsError, ...]]:
        """As ``from_env``, but a bad value leaves the default and comes back as a problem."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[SettingsError] = []
        for field in fields(cls):
            variable = f"XRAY_{field.name.upper()}"
            value: object = overrides.get(field.name)
            if value is None:
                value = environ.get(variable, "").strip()
                if value == "":
                    continue
            parse, accepted = _FORMS[field.name]
            try:
                values[field.name] = parse(value)
            except Exception:  # noqa: BLE001 - a program may give any object, and it may do anything
                problems.append(SettingsError(variable, _presentable(field.name, value), accepted))
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            values["disabled"] = True
        values["endpoint"] = values.get("endpoint") or DEFAULT_ENDPOINTS[values.get("protocol", cls.protocol)]
        return cls(**values), tuple(problems)


def _presentable(name: str, value: object) -> object:
    if name == "api_key":
        return "***"
    if type(value) is str:
        return "***" if name == "endpoint" and "@" in value else value
    return value if type(value) in (int, float, bool) else shown(value)


def _url(value: object) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(value)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(value)  # the key has a setting of its own, and the URL is logged
    return str(value).rstrip("/")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode("utf-8")
    return value


def _header(value: object) -> str:
    text = _text(value)
    if not text.isascii() or not text.isprintable():
        raise ValueError(value)
    return text


def _word(words: frozenset[str]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in words:
            raise ValueError(value)
        return str(value)

    return parse


def _integer(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        number = int(str(value))
        if isinstance(value, float | bool) or not low <= number <= high:
            raise ValueError(value)
        return number

    return parse


def _seconds(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number) or not 0 < number <= 600:
        raise ValueError(value)
    return number


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in ("true", "1", "false", "0"):
        raise ValueError(value)
    return word in ("true", "1")


_FORMS: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "endpoint": (_url, "a URL such as http://127.0.0.1:4318"),
    "protocol": (_word(frozenset(DEFAULT_ENDPOINTS)), "http/protobuf or grpc"),
    "api_key": (_header, "printable ASCII text"),
    "service_name": (_text, "text"),
    "environment": (_text, "text"),
    "capture": (_word(CAPTURE_LEVELS), "metrics_only, sampled or full"),
    "mode": (_word(frozenset({"best_effort", "strict"})), "best_effort or strict"),
    "offline": (_word(frozenset({"buffer", "drop"})), "buffer or drop"),
    "sample_size": (_integer(1, 100_000), "a whole number from 1 to 100000"),
    "buffer_bytes": (_integer(65_536, 2**40), "a number of bytes, at least 65536,"),
    "flush_interval_ms": (_integer(1, 60_000), "a whole number of milliseconds from 1 to 60000"),
    "export_timeout_s": (_seconds, "a number of seconds above 0, at most 600,"),
    "exit_timeout_s": (_seconds, "a number of seconds above 0, at most 600,"),
    "artifact_bytes": (_integer(1, 3 * 1024 * 1024), "a number of bytes from 1 to 3145728"),
    "disabled": (_boolean, "true or false"),
}
