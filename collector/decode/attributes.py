"""
Attributes of OTLP/protobuf: the bytes of a ``KeyValue`` to a reading.

Most attributes of a step were met before, byte for byte: its kind, type, pipeline, name,
reason codes, small counts. ``Readings`` remembers what they came to, so that they are decoded,
checked and classified once; the others are read by hand where they have the form that every
encoder writes, and by the parser where they have not. All three ways give the same reading
(``tests/collector/test_readings.py``). Measured in decision 0012.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from google.protobuf.message import DecodeError

from collector.decode.bounds import Values
from collector.decode.messages import MESSAGES
from collector.records import IGNORED, MAX_DEPTH, TOO_DEEP, Interpreter, Reading, Unreadable, ValueReader

MAX_READINGS: Final = 16_384
"""
Readings remembered. Only attributes whose name and value are shorter than 128 bytes each are:
5 MB of usual ones, 50 MB of the worst that somebody can make up.
"""
_MAX_HEADS: Final = 4096
_MET: Final = 4096
_MET_MASK: Final = _MET - 1
_MAX_ELEMENTS: Final = 16_384
_MAX_ELEMENT_BYTES: Final = 32

# Tags of fields, number << 3 | wire type. A byte below 128 is a whole length or number.
_KEY, _VALUE = 0x0A, 0x12
_STRING, _INT, _DOUBLE, _ARRAY, _ELEMENT = 0x0A, 0x18, 0x21, 0x2A, 0x0A
_BELOW_TWO_BYTES = 128
_LONGEST_LENGTH_BITS = 28
_double = Struct("<d").unpack_from

NOT_A_VALUE = Unreadable("not an OTLP value")

_Head = tuple[ValueReader | None, int, int, int]


class _TooDeep(Exception):
    pass


class Readings(dict[bytes, Reading]):
    """
    Bytes of an attribute → its reading, filled as they are asked for; emptied when full.

    Not more than one thread at a time.
    """

    def __init__(self, interpreter: Interpreter, left: Values | None = None) -> None:
        """left: of the values of a request; elements are taken from it, attributes by the caller."""
        super().__init__()
        self._interpreter = interpreter
        self._left = left or Values()
        # First bytes of an attribute, up to the tag of its value → who reads it, tag, place of the value,
        # and whole length.
        self._heads: dict[bytes, _Head] = {}
        # Hashes of attributes met once: what is remembered comes twice. Most values never do, and to
        # remember them would cost as much as to read them, and push out the others.
        self._met: list[int] = [0] * _MET

    def __missing__(self, raw: bytes) -> Reading:
        """Raises ``DecodeError`` for bytes that are no ``KeyValue``."""
        try:
            read, kind, at, length = self._heads[raw[: raw[1] + 5]]
        except (KeyError, IndexError):
            return self._first(raw)
        if len(raw) != length or at == length:
            # An `AnyValue` of one byte is none; below, a byte follows its tag.
            return self._first(raw)
        if read is None:
            return IGNORED
        if kind == _INT and length - at == 2 and raw[at] >= _BELOW_TWO_BYTES > raw[at + 1]:
            reading = read(raw[at] & 127 | raw[at + 1] << 7)
        elif kind == _STRING and raw[at] == length - at - 1:
            try:
                reading = read(raw[at + 1 :].decode())
            except UnicodeDecodeError:
                reading = read(text(raw[at + 1 :]))
        elif kind == _DOUBLE and length - at == 8:
            return read(_double(raw, at)[0])  # of these hardly any comes twice
        elif kind == _ARRAY and raw[at] == length - at - 1:
            reading = read(_short_array(raw, at + 1, self._left))
        else:
            reading = read(value_at(raw, at - 1, self._left))
        hashed = hash(raw)
        place = hashed & _MET_MASK
        if self._met[place] == hashed:
            if len(self) >= MAX_READINGS:
                self.clear()
            self[raw] = reading
        else:
            self._met[place] = hashed
        return reading

    def _first(self, raw: bytes) -> Reading:
        """Read an attribute of which nothing is known, and learn from it."""
        name, at = _split(raw)
        if at is None:
            message = MESSAGES.key_value.FromString(raw)
            name, raw, at = message.key, message.value, 0
        key = text(name)
        read = self._interpreter.reader(key)
        undecoded = key in self._interpreter.undecoded
        if at == len(name) + 4 < len(raw) and not undecoded:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            kind = raw[at]
            self._heads[raw[: at + 1]] = (read, kind, at + 1, len(raw))
        return IGNORED if read is None else read(value_at(raw, at, self._left, undecoded))


def attributes_of(raw_attributes: Any, left: Values) -> dict[str, Any]:
    """Return all of a message's attributes as they are. Raises ``DecodeError`` and ``Undecodable``."""
    left.take(len(raw_attributes))
    attributes: dict[str, Any] = {}
    for raw in raw_attributes:
        message = MESSAGES.key_value.FromString(raw)
        attributes[text(message.key)] = value_at(message.value, 0, left)
    return attributes


def text(raw: bytes) -> str:
    """Return the text; bytes that are not UTF-8 become lone surrogates, which the extraction removes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape")


def value_at(raw: bytes, at: int, left: Values, undecoded: bool = False) -> Any:
    """
    Return the value of the ``AnyValue`` that begins there and ends with the bytes.

    Raises ``Undecodable`` when the request has too many.
    """
    try:
        return _value(raw, at, 1, left, undecoded)
    except _TooDeep:
        return TOO_DEEP
    except DecodeError:
        return NOT_A_VALUE


def _short_array(raw: bytes, at: int, left: Values) -> Any:
    # Elements met before, each with its own length in front; for so few the parser takes twice as long.
    values: list[Any] = []
    place, end = at, len(raw)
    try:
        while place < end and raw[place] == _ELEMENT:
            start = place + 2
            place = start + raw[place + 1]
            values.append(_elements[raw[start:place]])
    except (KeyError, IndexError):
        return value_at(raw, at - 2, left)
    return values if place == end else value_at(raw, at - 2, left)


def _value(raw: bytes, at: int, depth: int, left: Values, undecoded: bool = False) -> Any:
    if at == len(raw):
        return None
    kind = raw[at]
    if kind == _STRING and (start := _content(raw, at)) is not None:
        return raw[start:] if undecoded else text(raw[start:])
    if kind == _INT and len(raw) - at == 2 and raw[at + 1] < _BELOW_TWO_BYTES:
        return raw[at + 1]
    if kind == _DOUBLE and len(raw) - at == 9:
        return _double(raw, at + 1)[0]
    if kind == _ARRAY and (start := _content(raw, at)) is not None:
        return _array(raw[start:], depth, left)
    message = MESSAGES.any_value.FromString(raw[at:])
    field = message.WhichOneof("value")
    if field is None:
        return None
    content = getattr(message, field)
    if field == "string_value":
        return content if undecoded else text(content)
    if field == "array_value":
        return _array(content, depth, left)
    return _map(content, depth, left) if field == "kvlist_value" else content


# Elements of arrays that were met before: reason codes and small counts, in ever new company. Shared by
# all threads: whoever finds it emptied reads the element anew.
_elements: dict[bytes, Any] = {}


def _array(content: bytes, depth: int, left: Values) -> list[Any]:
    if depth > MAX_DEPTH:
        raise _TooDeep
    raw_values = _elements_of(content, left)
    try:
        return list(map(_elements.__getitem__, raw_values))
    except KeyError:
        return [_element(raw, depth + 1, left) for raw in raw_values]


def _elements_of(content: bytes, left: Values) -> Any:
    left.check(content)
    raw_values = MESSAGES.values.FromString(content).values
    left.take(len(raw_values))
    return raw_values


def _element(raw: bytes, depth: int, left: Values) -> Any:
    value = _value(raw, 0, depth, left)
    if len(raw) <= _MAX_ELEMENT_BYTES and not isinstance(value, list | dict):
        if len(_elements) >= _MAX_ELEMENTS:
            _elements.clear()
        _elements[raw] = value
    return value


def _map(content: bytes, depth: int, left: Values) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise _TooDeep
    values: dict[str, Any] = {}
    for raw in _elements_of(content, left):
        message = MESSAGES.key_value.FromString(raw)
        values[text(message.key)] = _value(message.value, 0, depth + 1, left)
    # Sorted: senders differ in the order of a map, and a value that is shown cut short would show it.
    return {key: values[key] for key in sorted(values)}


def _split(raw: bytes) -> tuple[bytes, int | None]:
    """Return the key and where the value begins, if the attribute has the usual form, else None for it."""
    if len(raw) < 4 or raw[0] != _KEY or raw[1] >= _BELOW_TWO_BYTES:
        return b"", None
    end = 2 + raw[1]
    if end >= len(raw) or raw[end] != _VALUE:
        return b"", None
    return raw[2:end], _content(raw, end)


def _content(raw: bytes, at: int) -> int | None:
    """Return where the content of the field at that place begins; None unless it ends with the bytes."""
    length = bits = 0
    for place in range(at + 1, len(raw)):
        length |= (raw[place] & 127) << bits
        bits += 7
        if raw[place] < _BELOW_TWO_BYTES:
            return place + 1 if len(raw) - place - 1 == length else None
        if bits > _LONGEST_LENGTH_BITS:
            return None
    return None
