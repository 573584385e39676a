"""
Bounded, clean text.

Clean means valid UTF-8 (no lone surrogates) without NUL, which Postgres cannot store.
"""

from __future__ import annotations

TEXT_BYTES = 16 * 1024
"""Bound of input, output and reasoning (contract: server limits)."""
WHY_BYTES = 2 * 1024
NAME_BYTES = 512


def clean(text: str) -> str:
    """The text without NUL and with lone surrogates replaced."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def cut(text: str, max_bytes: int) -> str:
    """The clean text, cut to at most ``max_bytes`` of UTF-8 with a mark at the end."""
    if 4 * len(text) <= max_bytes and text.isascii() and "\x00" not in text:
        return text
    text = clean(text[: max_bytes + 1])
    data = text.encode("utf-8")
    if len(data) <= max_bytes:
        return text
    return data[: max_bytes - 3].decode("utf-8", "ignore") + "…"


def unreadable(value: object) -> str:
    """What stands for a value that raised when it was asked."""
    try:
        return f"<unreadable {cut(str(type(value).__name__), 32)}>"
    except Exception:  # noqa: BLE001 - a metaclass may do anything as well
        return "<unreadable>"


def type_name(value: object) -> str:
    """How a value is called of which nothing else is said."""
    return unreadable(value)[len("<unreadable ") : -1] or "object"
