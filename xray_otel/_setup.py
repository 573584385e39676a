"""The client of the process: configured once, or from the environment at first use."""

from __future__ import annotations

import atexit
import os
import threading

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import TracerProvider as ApiTracerProvider

from xray_otel._client import Client
from xray_otel.errors import UsageError
from xray_otel.settings import Capture, Mode, Offline, Protocol, Settings

_lock = threading.RLock()
_client: Client | None = None  # one per process, as OpenTelemetry's providers are
_registered = False


def configure(
    *,
    endpoint: str | None = None,
    protocol: Protocol | None = None,
    api_key: str | None = None,
    service_name: str | None = None,
    environment: str | None = None,
    capture: Capture | None = None,
    mode: Mode | None = None,
    offline: Offline | None = None,
    sample_size: int | None = None,
    buffer_bytes: int | None = None,
    flush_interval_ms: int | None = None,
    export_timeout_s: float | None = None,
    exit_timeout_s: float | None = None,
    artifact_bytes: int | None = None,
    disabled: bool | None = None,
    tracer_provider: ApiTracerProvider | None = None,
) -> None:
    """
    Sets the client of this process up. Optional: without it the first run reads ``XRAY_*``.

    What is not given comes from the environment, then from the defaults (``Settings`` says
    what each means). Calling it again replaces the client after delivering what waits.

    tracer_provider: where X-Ray's spans are made, so that they are children in the team's
    traces. Default: the global provider if the program has set one, else a private one.

    A value that is not accepted is logged and its default used; in mode ``strict`` it
    raises SettingsError, or UsageError for a tracer_provider that is none of the SDK.
    """
    settings, problems = Settings.read(
        endpoint=endpoint,
        protocol=protocol,
        api_key=api_key,
        service_name=service_name,
        environment=environment,
        capture=capture,
        mode=mode,
        offline=offline,
        sample_size=sample_size,
        buffer_bytes=buffer_bytes,
        flush_interval_ms=flush_interval_ms,
        export_timeout_s=export_timeout_s,
        exit_timeout_s=exit_timeout_s,
        artifact_bytes=artifact_bytes,
        disabled=disabled,
    )
    errors: list[Exception] = list(problems)
    provider = tracer_provider if isinstance(tracer_provider, TracerProvider) else None
    if provider is not tracer_provider:
        errors.append(UsageError("tracer_provider must be an opentelemetry.sdk.trace.TracerProvider"))
    if errors and settings.mode == "strict":
        raise errors[0]
    _install(settings, provider, errors)


def _install(settings: Settings, provider: TracerProvider | None, errors: list[Exception]) -> Client:
    global _client, _registered
    with _lock:
        previous = _client
        _client = Client(settings, provider, live=lambda: _client)
        if not _registered:
            _registered = True
            atexit.register(_at_exit)
        installed = _client
    for error in errors:
        installed.guard.note("configure", f"{error}; the default is used")
    if not settings.disabled:
        try:
            _ = installed.tracing  # joins the provider, so that the team's own spans are seen from now on
        except Exception as error:  # noqa: BLE001 - a broken set-up of OpenTelemetry is not X-Ray's to raise
            installed.guard.failed("configure", error)
    if previous is not None:
        previous.pipeline.shutdown(previous.settings.exit_timeout_s)
    return installed


def client() -> Client:
    """The client of this process, made from the environment when there is none yet."""
    current = _client
    if current is not None:
        return current
    with _lock:
        return _existing() or _from_environment()


def _existing() -> Client | None:
    """The client that another thread may have made while this one waited for the lock."""
    return _client


def _from_environment() -> Client:
    settings, problems = Settings.read()
    if problems and settings.mode == "strict":
        raise problems[0]
    return _install(settings, None, list(problems))


def flush(timeout_s: float = 2.0) -> bool:
    """
    Sends what was recorded so far, waiting at most ``timeout_s`` seconds.

    Returns whether all of it was settled in time: acknowledged by the server, or counted
    and logged as lost. Call it before a process ends without Python's exit, for instance
    by ``os._exit``.
    """
    return _client is None or _client.pipeline.flush(timeout_s)


def shutdown(timeout_s: float = 2.0) -> bool:
    """
    As ``flush``, and takes nothing more in; what is recorded afterwards counts as lost.

    Python's exit does this by itself, within ``XRAY_EXIT_TIMEOUT_S``. Safe to call twice.
    """
    return _client is None or _client.pipeline.shutdown(timeout_s)


def _reset_after_fork() -> None:
    """Replaces the locks, which another thread of the parent may have held."""
    global _lock
    _lock = threading.RLock()
    if _client is not None:
        _client.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _at_exit() -> None:
    if _client is not None:
        _client.pipeline.shutdown(_client.settings.exit_timeout_s)
