"""The client of the process: configured once, or from the environment at first use."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import TracerProvider as ApiTracerProvider

from xray_otel import _exits, _mask
from xray_otel._client import Client
from xray_otel._encode import shown
from xray_otel._figures import number
from xray_otel._mask import Callback, Mask, closed, key_words
from xray_otel._mask import install as install_mask
from xray_otel._schemas import Compiled, Schema, compiled, load
from xray_otel._transport import Transport
from xray_otel._unknown import unknown_variables
from xray_otel.errors import SettingsError, UsageError
from xray_otel.settings import Baggage, Capture, Flush, Mode, Offline, Protocol, SchemaMode, Settings

_lock = threading.RLock()
_DEFAULT_TIMEOUT_S = 2.0
_client: Client | None = None  # one per process, as OpenTelemetry's providers are
_stand_in: StandIn | None = None  # while testing.capture() is at work
_told: set[str] = set()  # of variables that nothing reads, once per process
_MESSAGE = 1_000


def configure(
    *,
    endpoint: str | None = None,
    protocol: Protocol | None = None,
    api_key: str | None = None,
    service_name: str | None = None,
    environment: str | None = None,
    capture: Capture | None = None,
    capture_rules: Mapping[str, Capture] | None = None,
    mode: Mode | None = None,
    offline: Offline | None = None,
    spool_dir: str | None = None,
    spool_bytes: int | None = None,
    sample_size: int | None = None,
    buffer_bytes: int | None = None,
    flush_interval_ms: int | None = None,
    export_timeout_s: float | None = None,
    exit_timeout_s: float | None = None,
    flush: Flush | None = None,
    handle_sigterm: bool | None = None,
    artifact_bytes: int | None = None,
    baggage: Baggage | None = None,
    mask: Callable[[str], str | None] | None = None,
    mask_keys: Sequence[str] | None = None,
    mask_patterns: Sequence[str] | None = None,
    hash_item_ids: bool | None = None,
    item_id_key: str | None = None,
    schema: Schema | str | None = None,
    schema_mode: SchemaMode | None = None,
    disabled: bool | None = None,
    tracer_provider: ApiTracerProvider | None = None,
) -> None:
    """
    Sets the client of this process up. Optional: without it the first run reads ``XRAY_*``.

    What is not given comes from the environment, then from the defaults (``Settings`` says
    what each means). Calling it again replaces the client after delivering what waits.

    tracer_provider: where X-Ray's spans are made, so that they are children in the team's
    traces. Default: the global provider if the program has set one, else a private one.

    mask: called with each text that is about to leave (and with what it returned, once more);
    returns what leaves instead, None to hide it. A text that it fails on is dropped.
    schema: of all runs that name no other, or the path of its file.

    A value that is not accepted is logged and its default used; in mode ``strict`` it
    raises SettingsError, or UsageError for a tracer_provider that is none of the SDK and for
    a schema that makes no sense. Masking that is not accepted hides every text instead.
    """
    settings, problems = Settings.read(
        endpoint=endpoint,
        protocol=protocol,
        api_key=api_key,
        service_name=service_name,
        environment=environment,
        capture=capture,
        capture_rules=capture_rules,
        mode=mode,
        offline=offline,
        spool_dir=spool_dir,
        spool_bytes=spool_bytes,
        sample_size=sample_size,
        buffer_bytes=buffer_bytes,
        flush_interval_ms=flush_interval_ms,
        export_timeout_s=export_timeout_s,
        exit_timeout_s=exit_timeout_s,
        flush=flush,
        handle_sigterm=handle_sigterm,
        artifact_bytes=artifact_bytes,
        baggage=baggage,
        mask_keys=mask_keys,
        mask_patterns=mask_patterns,
        hash_item_ids=hash_item_ids,
        item_id_key=item_id_key,
        schema=schema if isinstance(schema, str) else None,
        schema_mode=schema_mode,
        disabled=disabled,
    )
    errors: list[Exception] = list(problems)
    provider = tracer_provider if isinstance(tracer_provider, TracerProvider) else None
    if provider is not tracer_provider:
        errors.append(UsageError("tracer_provider must be an opentelemetry.sdk.trace.TracerProvider"))
    given: object = mask
    if given is not None and not callable(given):
        errors.append(SettingsError("mask", shown(given), "a function from text to text or None"))
    declared = _declared(settings, None if isinstance(schema, str) else schema, errors)
    if errors and settings.mode == "strict":
        raise errors[0]
    _install(settings, provider, errors, mask, declared)


def _declared(settings: Settings, schema: Schema | None, errors: list[Exception]) -> Compiled | None:
    """The schema of all runs; one that cannot be used is an error more and no schema."""
    try:
        if schema is None and settings.schema is None:
            return None
        return compiled(schema if schema is not None else load(str(settings.schema)), settings.schema_mode)
    except UsageError as error:
        errors.append(error)
        return None


def _mask_of(settings: Settings, callback: Callback | None, errors: Sequence[Exception]) -> Mask:
    if any(map(_of_masking, errors)):
        return closed()
    key = None
    if settings.hash_item_ids:
        key = settings.item_id_key.encode() if settings.item_id_key else secrets.token_bytes(32)
    return Mask(key_words(settings.mask_keys), settings.mask_patterns, callback, key)


_MASKING = frozenset(
    {"mask", "XRAY_MASK_KEYS", "XRAY_MASK_PATTERNS", "XRAY_HASH_ITEM_IDS", "XRAY_ITEM_ID_KEY"}
)


def _of_masking(error: Exception) -> bool:
    return isinstance(error, SettingsError) and error.variable in _MASKING


def _install(
    settings: Settings,
    provider: TracerProvider | None,
    errors: list[Exception],
    callback: Callback | None = None,
    schema: Compiled | None = None,
) -> Client:
    global _client
    transport = None
    if _stand_in is not None:
        settings, transport = _stand_in.adjust(settings), _stand_in.connect
    mask = _mask_of(settings, callback, errors)
    with _lock:
        previous = _client
        install_mask(mask)  # before there is a client whose records it has to mask
        _client = Client(settings, provider, client_or_none, schema, transport)
        _exits.arm(_deliver, sigterm=settings.handle_sigterm and not settings.disabled)
        installed = _client
    mask.failed = partial(installed.guard.say, "mask")
    for error in sorted(errors, key=_of_masking, reverse=True):  # a minute has one line: the worst is said
        if isinstance(error, SettingsError) and _of_masking(error):
            # The mask that is in force now hides every message; this one names no value.
            what = f"{error.variable}: {error.accepted} is accepted; every text is hidden until then"
            installed.guard.say("configure", what)
        else:
            instead = "the default is used" if isinstance(error, SettingsError) else "it is left out"
            installed.guard.note("configure", f"{error}; {instead}")
    if settings.hash_item_ids and not settings.item_id_key:
        installed.guard.note("configure", "XRAY_ITEM_ID_KEY is not set: the hashes hold for this process")
    unknown = [line for line in unknown_variables(os.environ) if line not in _told]
    if unknown:
        _told.update(unknown)
        installed.guard.note("configure", "; ".join(unknown)[:_MESSAGE])
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


def client_or_none() -> Client | None:
    """The client of this process, if there is one by now."""
    return _client


class StandIn(NamedTuple):
    """What ``xray_otel.testing`` puts between the program and the server."""

    adjust: Callable[[Settings], Settings]
    connect: Callable[[Settings], Transport]


@contextmanager
def standing_in(stand_in: StandIn) -> Iterator[None]:
    """
    A client that is like the current one meanwhile, and each that ``configure()`` makes.

    The last of them stays usable for those who hold it; client and mask are then as before.
    """
    global _client, _stand_in
    before, mask_before, stand_in_before = client(), _mask.current, _stand_in
    settings = stand_in.adjust(before.settings)
    with _lock:
        _stand_in = stand_in
        _client = Client(settings, before.given_provider, client_or_none, before.schema, stand_in.connect)
    try:
        yield
    finally:
        with _lock:
            _client, _stand_in = before, stand_in_before
            install_mask(mask_before)


def _existing() -> Client | None:
    """The client that another thread may have made while this one waited for the lock."""
    return _client


def _from_environment() -> Client:
    settings, problems = Settings.read()
    errors: list[Exception] = list(problems)
    declared = _declared(settings, None, errors)
    if errors and settings.mode == "strict":
        raise errors[0]
    return _install(settings, None, errors, schema=declared)


def flush(timeout_s: float = 2.0) -> bool:
    """
    Sends what was recorded so far, waiting at most ``timeout_s`` seconds.

    Returns whether all of it was settled in time: acknowledged by the server, or counted
    and logged as lost. Call it before a process ends without Python's exit, for instance
    by ``os._exit``.
    """
    return _client is None or _client.pipeline.flush(_seconds(_client, "flush", timeout_s))


def shutdown(timeout_s: float = 2.0) -> bool:
    """
    As ``flush``, and takes nothing more in; what is recorded afterwards counts as lost.

    Then it sends what ended programs have left on disk, if the server answers: within the same
    time, and for ``XRAY_EXIT_TIMEOUT_S`` in all at most. Python's exit does all this by itself,
    within ``XRAY_EXIT_TIMEOUT_S``. Safe to call twice.
    """
    if _client is None:
        return True
    return _client.pipeline.shutdown(_seconds(_client, "shutdown", timeout_s), clears=not _exits.is_worker())


def _seconds(current: Client, where: str, timeout_s: object) -> float:
    """A time to wait, at most a day; in mode ``strict`` what is none raises UsageError."""
    figure = number(timeout_s)
    if figure is None:
        current.guard.failed(where, UsageError(f"timeout_s must be a number, got {shown(timeout_s)}"))
        return _DEFAULT_TIMEOUT_S
    return max(0.0, min(figure, 86_400.0))


def _reset_after_fork() -> None:
    """Replaces the locks, which another thread of the parent may have held."""
    global _lock
    _lock = threading.RLock()
    if _client is not None:
        _client.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _deliver(*, last: bool) -> None:
    """Before the process ends; ``last``: nothing of the program runs after this."""
    if _client is not None:
        timeout_s = _client.settings.exit_timeout_s
        if last:
            # Not in workers, for whose end the program may wait while it runs.
            _client.pipeline.shutdown(timeout_s, at_exit=True, clears=not _exits.is_worker())
        else:
            _client.pipeline.secure(timeout_s)
