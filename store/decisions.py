"""
How the decisions of a step are stored: one packed value per chunk.

A row per candidate costs 77 bytes and a tenth of a second per half-million candidates for
nothing that a reader of one step needs; packed columns cost 12 to 24 bytes (decision 0005).
The first byte names the codec, so that another can be added beside it:

====  =====================================================
 1    zstd of the columns as one JSON object, UTF-8
====  =====================================================

The object is the sender's own text where that was read without a doubt, and made here where it
was not; names that no column has are passed over (decision 0013).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import compress, count, repeat
from typing import Any, NamedTuple

import orjson
import zstandard

Scalar = str | int | float | bool | None
Column = Sequence[Scalar] | Scalar
"""One value per candidate, or one value for all of them."""

VERDICTS = {
    "K": "kept",
    "E": "eliminated",
    "S": "scored",
    "W": "selected",
    "N": "not_selected",
    "D": "deferred",
    "M": "merged",
}
"""The letter of the stored verdict column and the word that readers see."""

PASSING = "KSW"
"""Letters of the verdicts with which a candidate goes on."""

BETWEEN = b'","'
"""Between two items in the stored text."""

CODEC = b"\x01"
"""First byte of what this version writes and reads: zstd of JSON."""
_LEVEL = 1
"""5,000 decisions of high entropy, 126 kB: 73 kB in 0.2 ms; level 3 gives 72 kB in 0.5 ms."""
_MAX_TEXT_BYTES = 64 << 20
"""More than a request may hold; a bound against data that unpacks to no end."""


class UnknownCodec(ValueError):
    """The packed value begins with a codec byte that this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionColumns:
    """
    The decisions of ``count`` candidates, in the order in which they were judged.

    A column that is None was not recorded. ``reason`` and ``text`` hold positions in
    ``reasons`` and ``texts``. ``missing`` lists, ascending, the positions of candidates whose
    observed value was missing, which is not the same as a value that was not recorded.
    """

    count: int
    item: Sequence[str]
    verdict: str
    """``count`` letters of ``VERDICTS``."""
    reasons: Sequence[str] | None = None
    reason: Sequence[int | None] | int | None = None
    texts: Sequence[str] | None = None
    text: Sequence[int | None] | int | None = None
    score: Column = None
    value: Column = None
    threshold: Column = None
    missing: Sequence[int] | None = None
    checks: Sequence[Sequence[Mapping[str, Any]] | None] | None = None
    """Per candidate None or a list of ``{name, value, threshold, passed}``."""
    probability: Column = None
    """Inclusion probability when sampled; wire name ``p``."""
    rules: Mapping[str, Any] | None = None
    """What the step declares: ``evaluation``, ``comparators``, ``missing``, ``item_independent``."""

    def may_name(self, item_ids: Set[str]) -> bool:
        """Whether any of the items may be among these candidates; false is certain."""
        return not item_ids.isdisjoint(self.item)

    def places(self, item_ids: Set[str]) -> Sequence[int]:
        """Where decisions about these items stand, ascending."""
        return list(compress(count(), map(item_ids.__contains__, self.item)))

    def picked(self, name: str, places: Sequence[int]) -> Any:
        """Return what a column has in these places; one value for all stays one."""
        column = getattr(self, name)
        return [column[place] for place in places] if isinstance(column, list | tuple) else column

    def joined(self, chosen: bytes) -> bytes | None:
        """
        Return the items with a 1 in ``chosen``, joined by ``BETWEEN``; None where they would have to be made.

        The same for the same items in the same order, but for white space that a sender put between them.
        """
        del chosen  # who keeps the text knows better
        return None


class Decision(NamedTuple):
    """What happened to one candidate in one step."""

    item_id: str
    verdict: str
    """A word of ``VERDICTS``."""
    reason: str | None
    reason_text: str | None
    score: float | None
    value: Scalar
    threshold: Scalar
    value_missing: bool
    checks: Sequence[Mapping[str, Any]] | None
    probability: float | None


WIRE_NAMES = {
    "count": "n",
    "item": "item",
    "verdict": "verdict",
    "reasons": "reasons",
    "reason": "reason",
    "texts": "texts",
    "text": "text",
    "score": "score",
    "value": "value",
    "threshold": "threshold",
    "missing": "missing",
    "checks": "checks",
    "probability": "p",
    "rules": "rules",
}
"""Field of ``DecisionColumns`` to its name in the stored object, which is that on the wire."""

_of_thread = threading.local()


def pack(columns: DecisionColumns) -> bytes:
    """
    The columns as they are stored; equal columns give equal bytes.

    Raises TypeError for a value that JSON does not have.
    """
    present = {
        wire_name: value
        for name, wire_name in WIRE_NAMES.items()
        if (value := getattr(columns, name)) is not None
    }
    return pack_text(orjson.dumps(present, option=orjson.OPT_SORT_KEYS))


def pack_text(text: bytes) -> bytes:
    """Return the columns as they are stored; text: the JSON object, UTF-8, known to be readable."""
    # A compressor per thread: zstandard's must not be shared, and making one costs a fifth of using it.
    compressor = getattr(_of_thread, "compressor", None)
    if compressor is None:
        compressor = _of_thread.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    packed: bytes = compressor.compress(text)
    return CODEC + packed


def unpack(data: bytes) -> DecisionColumns:
    """
    The columns of a packed value.

    Raises ``UnknownCodec`` (a ValueError) when a newer version wrote it.
    """
    return columns_of(text_of(data))


def columns_of(text: bytes) -> DecisionColumns:
    """Return the columns of a JSON object as ``pack_text`` takes it."""
    present = orjson.loads(text)
    return DecisionColumns(**{name: present.get(wire_name) for name, wire_name in WIRE_NAMES.items()})


def text_bytes(data: bytes) -> int:
    """Return the length of what ``text_of`` returns, without unpacking."""
    said = zstandard.frame_content_size(data[1:19])
    return _MAX_TEXT_BYTES if said < 0 else said


def text_of(data: bytes) -> bytes:
    """Return the JSON object of a packed value; raises ``UnknownCodec``."""
    if data[:1] != CODEC:
        raise UnknownCodec(f"decisions packed with codec {data[:1].hex() or 'none'}; this version reads 01")
    text: bytes = zstandard.ZstdDecompressor().decompress(data[1:], max_output_size=_MAX_TEXT_BYTES)
    return text


def rows(columns: DecisionColumns) -> Iterator[Decision]:
    """One ``Decision`` per candidate, in order."""
    reasons, texts = _words(columns.reasons), _words(columns.texts)
    missing = frozenset(columns.missing or ())
    for position, (item, letter, reason, text, score, value, threshold, checks, probability) in enumerate(
        zip(
            columns.item,
            columns.verdict,
            _each(columns.reason),
            _each(columns.text),
            _each(columns.score),
            _each(columns.value),
            _each(columns.threshold),
            _each(columns.checks),
            _each(columns.probability),
            strict=False,  # a column that is one value for all repeats without end
        )
    ):
        yield Decision(
            item,
            VERDICTS[letter],
            reasons[reason],
            texts[text],
            score,
            value,
            threshold,
            position in missing,
            checks,
            probability,
        )


def about(columns: DecisionColumns, item_ids: Set[str]) -> DecisionColumns:
    """Return the columns of these items alone: making a ``Decision`` of each of thousands takes longer."""
    if not columns.may_name(item_ids):
        return DecisionColumns(count=0, item=(), verdict="")
    places = columns.places(item_ids)
    missing = frozenset(columns.missing or ())
    return DecisionColumns(
        count=len(places),
        item=columns.picked("item", places),
        verdict="".join(columns.verdict[place] for place in places),
        reasons=columns.reasons,
        texts=columns.texts,
        missing=[i for i, place in enumerate(places) if place in missing],
        rules=columns.rules,
        **{name: columns.picked(name, places) for name in _BY_DECISION},
    )


_BY_DECISION = ("reason", "text", "score", "value", "threshold", "checks", "probability")


def with_verdicts(columns: DecisionColumns, letters: str) -> bytes:
    """For each decision 1 when its verdict is one of these letters, else 0."""
    return columns.verdict.encode("ascii").translate(_mask(letters))


@cache
def _mask(letters: str) -> bytes:
    return bytes(chr(code) in letters for code in range(256))


def _words(words: Sequence[str] | None) -> Mapping[int | None, str | None]:
    # By number, not by place in a list: 1.0 was sent by somebody whose numbers are all doubles.
    return {None: None, **dict(enumerate(words or ()))}


def _each(column: Any) -> Iterator[Any]:
    """One value per candidate; a text counts as one value, not as its letters."""
    return iter(column) if isinstance(column, list | tuple) else repeat(column)
