"""
Lists of documents: as an array of maps, as its JSON text, and flattened into attributes.

Flattened lists are ``<prefix>.<index>.<field>``, one attribute per field of each document
(OpenInference). Indexes come from outside and may be anything: what is read depends on the
number of attributes, never on the size of an index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from collector.extract.fields import number
from collector.extract.flags import DECISIONS_UNREADABLE, WRONG_TYPE, flag
from collector.inference.candidates import FewFlags, item_id

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Of the JSON text of a list: as Python values it takes ten times as much memory."""
_MAX_INDEX_DIGITS = 9


class Document(NamedTuple):
    """One document; item is None when it says neither an id nor its content."""

    item: str | None
    score: float | None


class Documents(NamedTuple):
    """
    A list of documents in its order.

    total: how many there were, None when the sender's limit on attributes may have cut the end.
    """

    found: Sequence[Document]
    total: int | None
    whole: bool
    """False when the sender's limit on attributes took some of it."""


def listed(sent: Any, field: str, flags: FewFlags) -> Documents | None:
    """
    Return the documents of an array of maps ``{id, score, content, …}`` or of its JSON text.

    None, flagged, for anything else.
    """
    sent = parsed(sent)
    if not isinstance(sent, list):
        flags.append(flag(DECISIONS_UNREADABLE, field, "no array of documents, or a text too long or cut"))
        return None
    found = [_document(entry, "", field, flags) for entry in sent]
    return Documents(found, len(found), whole=True)


def flattened(attributes: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, dict[int, dict[str, Any]]]:
    """
    Return prefix → index → field → value, of lists that are flattened under these prefixes.

    prefixes: without the last dot. One pass over the attributes for all of them.
    """
    lists: dict[str, dict[int, dict[str, Any]]] = {prefix: {} for prefix in prefixes}
    for attribute, value in attributes.items():
        for prefix in prefixes:
            if attribute.startswith(prefix) and attribute[len(prefix) : len(prefix) + 1] == ".":
                index, _, field = attribute[len(prefix) + 1 :].partition(".")
                if field and len(index) <= _MAX_INDEX_DIGITS and index.isascii() and index.isdecimal():
                    lists[prefix].setdefault(int(index), {})[field] = value
                break
    return lists


def unflattened(
    entries: Mapping[int, Mapping[str, Any]], prefix: str, dropped_attributes: int, flags: FewFlags
) -> Documents | None:
    """
    Return the documents of one list of ``flattened``, None when it is empty.

    dropped_attributes: as the sender's SDK counted. Where it removed the oldest (Python), the
    list has lost its beginning and its last index tells how many there were; where it refused
    the newest, as the specification says, the end is gone and nothing tells.
    """
    if not entries:
        return None
    found = [_document(entries[index], "document.", prefix, flags) for index in sorted(entries)]
    if not dropped_attributes:
        # A hole is then an entry of which the sender had nothing to say.
        return Documents(found, len(found), whole=True)
    total = max(entries) + 1
    lost_beginning = 0 < total - len(found) <= dropped_attributes
    flags.append(flag("decisions_missing", prefix, f"{dropped_attributes} attributes dropped by the sender"))
    return Documents(found, total if lost_beginning else None, whole=False)


def parsed(sent: Any) -> Any:
    """Return what a JSON text says, anything else as it is."""
    if isinstance(sent, str) and len(sent) <= MAX_TEXT_BYTES:
        try:
            return orjson.loads(sent)
        except orjson.JSONDecodeError:
            pass
    return sent


def _document(entry: Any, prefix: str, field: str, flags: FewFlags) -> Document:
    if not isinstance(entry, Mapping):
        flags.append(flag(WRONG_TYPE, field, entry))
        return Document(None, None)
    item = item_id(entry.get(f"{prefix}id"), entry.get(f"{prefix}content"), f"{field}.{prefix}id", flags)
    return Document(item, number(entry.get(f"{prefix}score"), f"{field}.{prefix}score", flags))
