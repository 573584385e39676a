"""The number that stands for a record as it was sent, in the order of copies (``store/merge.py``)."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

_signed = Struct(">q").unpack


def sent_hash(raw: bytes) -> int:
    """Return a signed 64-bit hash, the same in every process."""
    return _signed(blake2b(raw, digest_size=8).digest())[0]  # type: ignore[no-any-return]
