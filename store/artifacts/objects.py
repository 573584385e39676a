"""What an object store must do, the names of objects in it, and what can go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from store.errors import XRayStoreError

_KEY_HEX = 32
_SHA256_HEX = 64


class StoreAway(XRayStoreError):
    """The object store cannot be reached, takes too long or lets us do nothing; try again later."""


class ObjectMissing(XRayStoreError):
    """The object store answers, and has no such object."""


class ObjectKey(NamedTuple):
    """
    The name of an object: a payload of one run, by its content.

    The same for every delivery and every collector. The run is in it so that whatever a run has can be
    found and deleted without asking who else has the same bytes.
    """

    run_key: bytes
    """16 bytes; of the run that the payload came for (it may have been moved to another since)."""
    sha256: bytes

    def __str__(self) -> str:
        return f"{self.run_key.hex()}/{self.sha256.hex()}"

    @property
    def slot(self) -> int:
        """The lock that it shares with others (``store/artifacts/locks.py``), 0 to 255."""
        return self.run_key[0]


def parse_key(path: str) -> ObjectKey | None:
    """Return the key of an object of ours, None for what others have put there."""
    run_key, slash, sha256 = path.partition("/")
    if not slash or len(run_key) != _KEY_HEX or len(sha256) != _SHA256_HEX or path != path.lower():
        return None
    try:
        return ObjectKey(UUID(hex=run_key).bytes, bytes.fromhex(sha256))
    except ValueError:
        return None


class Found(NamedTuple):
    """An object in a listing."""

    path: str
    modified_at: datetime
    """By the store's clock."""
    size_bytes: int


class ObjectStore(Protocol):
    """
    Objects by path; any thread may call. Every method raises ``StoreAway``, those that read also
    ``ObjectMissing``.
    """

    @property
    def place(self) -> str:
        """The URL as it may be shown."""
        ...

    def put_new(self, path: str, data: bytes) -> bool:
        """Put an object, whole or not at all; False when one of this name is there, which stays."""
        ...

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes from start up to end, which is not included; fewer where the object ends."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that are gone already do not matter."""
        ...

    def list(self, folder: str | None = None) -> Iterator[Sequence[Found]]:
        """Yield all objects, or those in a folder, page by page in no order."""
        ...
