"""What can be set, by ``configure()`` or by the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal
from urllib.parse import urlsplit

from xray_otel._encode import shown
from xray_otel._mask import Mask, key_words
from xray_otel._otel_environment import borrowed
from xray_otel.errors import SettingsError
from xray_otel.semconv import CAPTURE_LEVELS

Capture = Literal["metrics_only", "sampled", "full"]
Mode = Literal["best_effort", "strict"]
Offline = Literal["buffer", "drop"]
Protocol = Literal["http/protobuf", "grpc"]
Baggage = Literal["on", "send", "accept", "off"]
Flush = Literal["auto", "run", "background"]
SchemaMode = Literal["warn", "reject", "sanitize"]

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
    api_key: str | None = field(default=None, repr=False)
    """API key with the scope ``ingest`` (``xray keys create``), sent as bearer token with every request."""
    service_name: str | None = None
    """The program, ``service.name``; None: what OpenTelemetry's own settings say."""
    environment: str | None = None
    """Where the program runs, ``deployment.environment.name``."""
    capture: Capture = "full"
    """Evidence of a step: ``full``, ``sampled`` or ``metrics_only``. Counts are exact in each."""
    capture_rules: tuple[tuple[str, Capture], ...] = ()
    """
    Other levels for some: ``pipeline:checkout=sampled,step:price=full``, or a mapping. The call's own
    ``capture`` wins, then the step's rule, then the pipeline's, then ``XRAY_CAPTURE``.
    """
    mode: Mode = "best_effort"
    """``best_effort``: nothing of X-Ray's raises into the program; ``strict``: misuse and loss raise."""
    offline: Offline = "buffer"
    """While the collector is away: ``buffer`` keeps telemetry on disk, ``drop`` lets it go."""
    spool_dir: str = ""
    """Folder of what is kept on disk; empty: ``xray_otel`` in ``XDG_STATE_HOME`` or ``~/.local/state``."""
    spool_bytes: int = 256 * 1024 * 1024
    """Bytes on disk for one endpoint, for all processes of the user together; evidence is shed first."""
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
    flush: Flush = "auto"
    """
    ``run``: the end of a run waits, for ``XRAY_EXIT_TIMEOUT_S`` at most, until its records are delivered or
    on disk; ``background``: it waits for nothing; ``auto``: as ``run`` where idle processes are frozen.
    """
    handle_sigterm: bool = True
    """Deliver at SIGTERM before the process ends, as long as the program has no handler of its own for it."""
    artifact_bytes: int = 1024 * 1024
    """Largest artifact in bytes; of a larger one only size and hash are sent."""
    baggage: Baggage = "on"
    """
    Run ids in W3C baggage, which goes out with requests: ``send`` puts them in, ``accept`` believes
    those that callers send, ``on`` does both, ``off`` neither.
    """
    mask_keys: tuple[str, ...] = ()
    """
    Keys whose values are hidden, beside the usual ones (``password``, ``token``, ``api_key`` …), separated
    by commas; ``!word`` takes one out. A word of JSON keys, tags and attribute names, however written.
    """
    mask_patterns: tuple[str, ...] = ()
    """Regular expressions, one per line; what they match in any text or number that leaves is hidden."""
    hash_item_ids: bool = False
    """Send item ids as their HMAC with ``XRAY_ITEM_ID_KEY``: items are followed without being named."""
    item_id_key: str | None = field(default=None, repr=False)
    """Secret of ``XRAY_HASH_ITEM_IDS``, the same in all programs; without one it lasts for one process."""
    schema: str | None = None
    """File with the schema of the runs, JSON, or YAML where PyYAML is installed."""
    schema_mode: SchemaMode = "warn"
    """
    What a step or run does that breaks its schema: ``warn`` flags it, ``reject`` leaves the field out
    (and raises in mode ``strict``), ``sanitize`` takes unknown keys out and nulls wrong types.
    """
    disabled: bool = False
    """Record nothing at all. ``OTEL_SDK_DISABLED`` has the same effect."""

    def capture_of(self, pipeline: object, step: str | None = None) -> Capture:
        """The level for a step of a pipeline, or for a run, where the call does not say one."""
        if not self.capture_rules:
            return self.capture
        rules = dict(self.capture_rules)
        return rules.get(f"step:{step}") or rules.get(f"pipeline:{pipeline}") or self.capture

    @property
    def flushes_runs(self) -> bool:
        """Whether the end of a run waits until its records are safe."""
        return self.flush == "run" or (self.flush == "auto" and any(name in os.environ for name in _FREEZING))

    @property
    def sends_baggage(self) -> bool:
        """Whether the run id is put into the baggage."""
        return self.baggage in ("on", "send")

    @property
    def accepts_baggage(self) -> bool:
        """Whether a run id in the baggage of a caller is believed."""
        return self.baggage in ("on", "accept")

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
        given: dict[str, tuple[str, object]] = {}
        for known in fields(cls):
            variable = f"XRAY_{known.name.upper()}"
            value: object = overrides.get(known.name)
            if value is None:
                value = environ.get(variable, "").strip()
                if value == "":
                    continue
            given[known.name] = variable, value
        if "endpoint" not in given:
            for name, variable, value in borrowed(environ):
                given.setdefault(name, (variable, value))
        values: dict[str, Any] = {}
        problems: list[SettingsError] = []
        for name, (variable, value) in given.items():
            parse, accepted = _FORMS[name]
            try:
                values[name] = parse(value)
            except Exception:  # noqa: BLE001 - a program may give any object, and it may do anything
                problems.append(SettingsError(variable, _presentable(name, value), accepted))
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            values["disabled"] = True
        values["endpoint"] = values.get("endpoint") or DEFAULT_ENDPOINTS[values.get("protocol", cls.protocol)]
        return cls(**values), tuple(problems)


_FREEZING = ("AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "FUNCTION_TARGET")
"""Variables of platforms that stop a process once it has answered: AWS Lambda, Cloud Run and Functions."""


def _presentable(name: str, value: object) -> object:
    if name in ("api_key", "item_id_key"):
        return "***"
    if type(value) is str:
        return "***" if name == "endpoint" and "@" in value else value
    if type(value) is int and value.bit_length() > 128:
        return shown(value)  # Python refuses to write one of thousands of digits
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


def _path(value: object) -> str:
    text = _text(value)
    if "\0" in text:
        raise ValueError(value)
    return text


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


def _rules(value: object) -> tuple[tuple[str, str], ...]:
    """``{"step:price": "full"}``, or its text."""
    if isinstance(value, str):
        pairs = [part.rsplit("=", 1) for part in value.split(",") if part.strip()]
    else:
        pairs = [list(pair) for pair in dict(value).items()]  # type: ignore[call-overload]
    rules = tuple((str(name).strip(), str(level).strip()) for name, level in pairs)
    for name, level in rules:
        kind, _, of = name.partition(":")
        if kind not in ("pipeline", "step") or not of or level not in CAPTURE_LEVELS:
            raise ValueError(value)
    return rules


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


def _words(separator: str) -> Callable[[object], tuple[str, ...]]:
    """A tuple of texts, from one text or from several."""

    def parse(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(separator) if word.strip())
        if not isinstance(value, Iterable):
            raise TypeError(value)
        return tuple(map(_text, value))

    return parse


def _keys(value: object) -> tuple[str, ...]:
    words = _words(",")(value)
    Mask(key_words(words))
    return words


def _patterns(value: object) -> tuple[str, ...]:
    patterns = _words("\n")(value)
    Mask(patterns=patterns)
    return patterns


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
    "capture_rules": (_rules, "rules like pipeline:name=sampled and step:name=full, separated by commas,"),
    "mode": (_word(frozenset({"best_effort", "strict"})), "best_effort or strict"),
    "offline": (_word(frozenset({"buffer", "drop"})), "buffer or drop"),
    "spool_dir": (_path, "the path of a folder"),
    "spool_bytes": (_integer(65_536, 2**40), "a number of bytes, at least 65536,"),
    "sample_size": (_integer(1, 100_000), "a whole number from 1 to 100000"),
    "buffer_bytes": (_integer(65_536, 2**40), "a number of bytes, at least 65536,"),
    "flush_interval_ms": (_integer(1, 60_000), "a whole number of milliseconds from 1 to 60000"),
    "export_timeout_s": (_seconds, "a number of seconds above 0, at most 600,"),
    "exit_timeout_s": (_seconds, "a number of seconds above 0, at most 600,"),
    "flush": (_word(frozenset({"auto", "run", "background"})), "auto, run or background"),
    "handle_sigterm": (_boolean, "true or false"),
    "artifact_bytes": (_integer(1, 3 * 1024 * 1024), "a number of bytes from 1 to 3145728"),
    "baggage": (_word(frozenset({"on", "send", "accept", "off"})), "on, send, accept or off"),
    "mask_keys": (_keys, "words with a letter, separated by commas,"),
    "mask_patterns": (_patterns, "a regular expression per line"),
    "hash_item_ids": (_boolean, "true or false"),
    "item_id_key": (_text, "text"),
    "schema": (_text, "the path of a file"),
    "schema_mode": (_word(frozenset({"warn", "reject", "sanitize"})), "warn, reject or sanitize"),
    "disabled": (_boolean, "true or false"),
}
