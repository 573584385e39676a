"""
Ids derived from what a step engine knows, so that every process and language makes the same ones.

Version 1 of the recipe; ``semconv/derived_ids.json`` has test vectors, decision 0029 the reasons.
A digest is SHA-256 over the parts, each as ``<length in bytes>:<UTF-8 text>``, one after the
other; the first part is ``xray-ids-1``. Its first bytes are the id.
"""

from __future__ import annotations

import hashlib
import time
from typing import NamedTuple

from xray_otel import _mask
from xray_otel._ids import is_run_id

IDS_VERSION = 1
"""Of the recipe. Another recipe would be another version: runs under way must keep their ids."""

_MAX_KEY_BYTES = 128
_CROCKFORD = {letter: value for value, letter in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


class DerivedIds(NamedTuple):
    """Ids of a run, and of one execution of a step in it. All are text; spans' are hex, as in OTLP/JSON."""

    run_id: str
    """``xray.run.id``: the engine's own where it may be one, else 32 hex digits."""
    trace_id: str
    root_span_id: str
    step_id: str
    """``xray.step.id``: the key where it has 1 to 128 bytes, else 32 hex digits; empty without a key."""
    span_id: str
    """The span of this attempt; empty without a key."""


def derive_ids(run_id: str, key: str | None = None, attempt: int = 1) -> DerivedIds:
    """
    The ids under which a step engine's run, and one execution of a step in it, are recorded.

    run_id: the engine's id of the run, any text. key: what tells the step from all others of
    the run, the same whenever the engine repeats it. attempt: counted from 1.
    """
    run_id, key = _well_formed(run_id), None if key is None else _well_formed(key)
    known_as = run_id if is_run_id(run_id) else _digest("run-id", run_id)[:32]
    step_id = span_id = ""
    if key is not None:
        short = 0 < len(key.encode()) <= _MAX_KEY_BYTES
        step_id = key if short else _digest("step-id", key)[:32]
        span_id = _digest("step", run_id, key, str(attempt))[:16]
    return DerivedIds(known_as, _digest("trace", run_id)[:32], _digest("root", run_id)[:16], step_id, span_id)


def hashed_where_masked(ids: DerivedIds) -> DerivedIds:
    """
    The ids, those hashed that would leave masked.

    Masked they would be alike: steps with the keys ``ann@shop.example`` and ``bob@shop.example`` would
    be one, and a run with such an id another run in every process.
    """
    hides = _mask.current.text
    run_id, step_id = ids.run_id, ids.step_id
    if hides(run_id) != run_id:
        run_id = _digest("run-id", run_id)[:32]
    if hides(step_id) != step_id:
        step_id = _digest("step-id", step_id)[:32]
    return ids._replace(run_id=run_id, step_id=step_id)


def time_in(run_id: str) -> int | None:
    """When the run began, in nanoseconds since 1970, if its id is a ULID or UUIDv7 of the time we live in."""
    digits = run_id.replace("-", "")
    milliseconds = None
    if len(run_id) == 26 and all(letter in _CROCKFORD for letter in run_id.upper()):
        milliseconds = 0
        for letter in run_id[:10].upper():
            milliseconds = milliseconds * 32 + _CROCKFORD[letter]
    elif len(digits) == 32 and digits[12] == "7" and digits[16].lower() in "89ab":
        try:
            milliseconds = int(digits[:12], 16)
        except ValueError:
            return None
    if (
        milliseconds is None
        or not 946_684_800_000 <= milliseconds <= time.time_ns() // 1_000_000 + 86_400_000
    ):
        return None  # not between 2000 and tomorrow: the digits mean something else
    return milliseconds * 1_000_000


def _digest(*parts: str) -> str:
    joined = "".join(f"{len(part.encode())}:{part}" for part in (f"xray-ids-{IDS_VERSION}", *parts))
    return hashlib.sha256(joined.encode()).hexdigest()


def _well_formed(text: str) -> str:
    """The text with U+FFFD in place of lone surrogates, as JavaScript's ``toWellFormed`` has it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
