"""Records → requests, encoded in small portions so that the host's threads never wait long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

from opentelemetry.sdk.trace import ReadableSpan

from xray_otel._buffer import Event, Item
from xray_otel._otlp import logs_request, traces_request
from xray_otel._transport import Payload, Signal

MAX_REQUEST_BYTES = 3_500_000
"""Below the 4 MiB that gRPC servers take by default, counted before compression."""

_PORTION_ITEMS = 16
_PORTION_BYTES = 256 * 1024
"""As a message becomes bytes the interpreter is held: 1 MB of new memory takes up to 1.5 ms."""


class Batch(NamedTuple):
    """A request and the records in it."""

    payload: Payload
    items: Sequence[Item]


def batches(
    items: Sequence[Item], failed: Callable[[Item, Exception], None], rest: Callable[[], None]
) -> Iterator[Batch]:
    """
    Requests of at most ``MAX_REQUEST_BYTES`` with all items; events first, so that the server
    sees the start of a run before its steps.

    ``failed`` gets what cannot be encoded. ``rest`` is called between pieces of work.
    """
    for signal in (Signal.LOGS, Signal.TRACES):
        rest()
        some = [item for item in items if isinstance(item.content, Event) is (signal is Signal.LOGS)]
        data: list[bytes] = []
        held: list[Item] = []
        size_bytes = 0
        for portion in _portions(some):
            for encoded, members in _encode(signal, portion, failed, rest):
                if held and size_bytes + len(encoded) > MAX_REQUEST_BYTES:
                    yield Batch(Payload(signal, b"".join(data)), held)
                    data, held, size_bytes = [], [], 0
                # Protobuf messages may be joined: repeated fields follow one another.
                data.append(encoded)
                held += members
                size_bytes += len(encoded)
            rest()
        if held:
            yield Batch(Payload(signal, b"".join(data)), held)


def _portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    start = size_bytes = 0
    for end, item in enumerate(items):
        if end - start >= _PORTION_ITEMS or (end > start and size_bytes + item.size_bytes > _PORTION_BYTES):
            yield items[start:end]
            start, size_bytes = end, 0
        size_bytes += item.size_bytes
    if start < len(items):
        yield items[start:]


def _encode(
    signal: Signal,
    items: Sequence[Item],
    failed: Callable[[Item, Exception], None],
    rest: Callable[[], None],
) -> Iterator[tuple[bytes, Sequence[Item]]]:
    contents = [item.content for item in items]
    try:
        request = (
            logs_request(cast(list[Event], contents), rest)
            if signal is Signal.LOGS
            else traces_request(cast(list[ReadableSpan], contents), rest)
        )
        rest()
        encoded = request.SerializeToString()
    except Exception as error:  # noqa: BLE001 - a span of the host may hold anything
        if len(items) == 1:
            failed(items[0], error)
            return
    else:
        if len(items) == 1 or len(encoded) <= MAX_REQUEST_BYTES:
            yield encoded, items
            return
    half = len(items) // 2
    yield from _encode(signal, items[:half], failed, rest)
    yield from _encode(signal, items[half:], failed, rest)
