"""
Keys that are derived from what was sent, so that every collector computes the same ones.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from uuid import UUID

from store.rows import Artifact

_SEPARATOR = b"\x1f"
ERASED_RUN = "erased-"
"""How the name begins that an erased run bears in place of its id, followed by its key in hex."""
_KEY = re.compile("[0-9a-f]{32}")


def run_key(run_id: str) -> UUID:
    """
    The 16-byte key under which a run and everything that belongs to it is stored.

    A hash of the text id: ids of up to 128 characters stay out of every index entry,
    and the same id gives the same key in every process (decision 0002). The name that an erased run
    bears tells its key.
    """
    if run_id.startswith(ERASED_RUN) and _KEY.fullmatch(run_id, len(ERASED_RUN)):
        return UUID(run_id.removeprefix(ERASED_RUN))
    return UUID(bytes=run_key_bytes(run_id))


def run_key_bytes(run_id: str) -> bytes:
    """``run_key`` as its 16 bytes, which is what a binary COPY sends."""
    # "surrogatepass": an id that Postgres will refuse must still get as far as being refused.
    return blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def artifact_key(artifact: Artifact) -> UUID:
    """
    The key of an artifact within its run: a hash of everything but the payload.

    Two deliveries of one artifact therefore meet in one row, and two artifacts that differ
    in anything a reader can see never do.
    """
    parts = (
        artifact.step_id,
        artifact.attempt_key,
        artifact.kind,
        artifact.content_type,
        str(artifact.size_bytes),
        artifact.sha256.hex(),
        artifact.url,
        artifact.name,
    )
    # None and "" differ: the one is a lone separator, the other carries a mark before it.
    text = _SEPARATOR.join(
        b"" if part is None else b"+" + part.encode("utf-8", "surrogatepass") for part in parts
    )
    return UUID(bytes=blake2b(text, digest_size=16).digest())
