"""What was recorded and cannot be read, in words."""

from __future__ import annotations

_CAUSES = {
    "client_queue": "dropped from the sender's queue",
    "client_policy": "left out by the sender",
    "shed": "shed by the server to keep up",
    "store_away": "whose store was away",
    "over_limit": "beyond a limit of the server",
    "refused": "refused by the database",
    "truncated": "cut",
    "expired": "kept no longer (retention)",
    "chunk_missing": "announced and never seen",
    "unreadable": "stored and not readable",
    "not_read": "stored and more than one answer reads",
}


def missing_in_words(cause: str, what: str, count: int) -> str:
    """``5,000 decisions, shed by the server to keep up``."""
    noun = "chunk of decisions" if what == "chunks" else what.removesuffix("s")
    plural = "chunks of decisions" if what == "chunks" else what
    return f"{count:,} {noun if count == 1 else plural}, {_CAUSES.get(cause, cause)}"
