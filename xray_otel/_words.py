"""Words of messages."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, one: str, many: str = "") -> str:
    """``1 record``, ``2 records``; ``many`` where the plural is no ``s`` more."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """That of ``words`` which ``word`` may be a slip of; None when it is like none of them."""
    import difflib  # 4 ms, which hardly any process needs

    return next(iter(difflib.get_close_matches(word, list(words), 1, 0.75)), None)
