"""
Which items a chunk of decisions names, small enough to be asked without opening the chunk.

A filter is one fingerprint after the other, in the order of the candidates: the low 24 bits of
the CRC-32 of the item id in UTF-8, least byte first. A chunk may name an item when the item's
three bytes stand anywhere in its filter, which Postgres finds at memory speed
(``position(… IN …)``). Never misses a named item; of 1,000 chunks of 5,000 candidates that do not
name it one is opened in vain (decision 0013).

The numbers are in stored rows: another hash or width needs another column.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from zlib import crc32

FINGERPRINT_BYTES = 3


def build(items: Iterable[str]) -> bytes:
    """
    Return the filter of a chunk that names these items.

    Raises TypeError for an item that is no text, UnicodeEncodeError for half a surrogate pair.
    """
    hashes = array("I", map(crc32, map(str.encode, items)))
    if sys.byteorder == "big":
        hashes.byteswap()
    # Byte by byte over whole columns: a call per item would double the time.
    wide = hashes.tobytes()
    narrow = bytearray(len(hashes) * FINGERPRINT_BYTES)
    for place in range(FINGERPRINT_BYTES):
        narrow[place::FINGERPRINT_BYTES] = wide[place :: hashes.itemsize]
    return bytes(narrow)


def fingerprint(item_id: str) -> bytes:
    """Return what to look for in filters; an id that no filter can hold is looked up as another one."""
    return crc32(item_id.encode("utf-8", "replace")).to_bytes(4, "little")[:FINGERPRINT_BYTES]
