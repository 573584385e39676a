"""
Copies of runs and steps as plain JSON and as one number.

The number orders two copies that agree in everything else that orders them; the JSON keeps a
start copy beside the row it helped to fill, whole, so that a later copy can still be merged
with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from hashlib import blake2b
from typing import Any

import orjson

from store.rows import Flag, RunCopy, StepCopy

_BYTES = frozenset({"trace_id", "span_id", "parent_span_id"})
_TUPLES = frozenset({"reason_codes", "reason_counts", "score", "parents"})
_FLAGS = frozenset({"flags", "run_flags"})


def content_hash(copy: RunCopy | StepCopy | tuple[Any, ...]) -> int:
    """
    A signed 64-bit hash of everything that was sent in this copy.

    The same content gives the same number in every process and on every machine; nothing of
    the receipt is in it.
    """
    digest = blake2b(to_json(tuple(copy)), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def to_json(value: Any) -> bytes:
    """
    Canonical JSON text: keys sorted, bytes as hex.

    Raises TypeError or ValueError for what JSON cannot say.
    """
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates: Postgres takes the former in jsonb and
        # refuses the latter itself, so that the row is reported like any other it refuses.
        return json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":")).encode()


def encode(copy: RunCopy | StepCopy) -> dict[str, Any]:
    """The fields of the copy that were sent, as JSON values."""
    return {
        name: _plain(value) if name in _BYTES else _flag_lists(value) if name in _FLAGS else value
        for name, value in zip(copy._fields, copy, strict=True)
        if value is not None and name != "sent_hash" and not (name in _FLAGS and not value)
    }


def decode_run(sent: Mapping[str, Any]) -> RunCopy:
    """The run copy that ``encode`` was given."""
    return RunCopy(**_fields(sent))


def decode_step(sent: Mapping[str, Any]) -> StepCopy:
    """The step copy that ``encode`` was given."""
    return StepCopy(**_fields(sent))


def flag_key(flag: Flag) -> bytes:
    """What flags are sorted and told apart by; ``1``, ``1.0`` and ``True`` differ."""
    return to_json(tuple(flag))


def _fields(sent: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in sent.items():
        if name in _BYTES:
            fields[name] = bytes.fromhex(value)
        elif name in _TUPLES:
            fields[name] = tuple(value)
        elif name in _FLAGS:
            fields[name] = tuple(Flag(*flag) for flag in value)
        else:
            fields[name] = value
    return fields


def _flag_lists(flags: tuple[Flag, ...]) -> list[list[Any]]:
    return [list(flag) for flag in flags]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):  # orjson takes plain tuples, not the named ones
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
