"""
The payload of a step's decisions, checked: wire text or a list of objects to columns.

Both come from outside and end in packed columns that readers trust, so everything that a
reader would trip over is refused here. The checks run over whole columns in C (``map``,
``set``, ``join``): 5,000 candidates take half a millisecond, half of that the JSON parser's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

import orjson

from collector.errors import DecisionsUnreadable
from store.decisions import WIRE_NAMES, DecisionColumns
from xray_otel import semconv

VERSION: Final = 1
MAX_TEXT_BYTES: Final = 1024 * 1024
"""Four times what a chunk should have (``docs/conventions.md``), so that nobody is refused for headers."""

_VERDICT_LETTERS = "".join(semconv.VERDICTS).encode()
_LETTERS = {word: letter for letter, word in semconv.VERDICTS.items()} | {
    letter: letter for letter in semconv.VERDICTS
}
_NONE = type(None)
_NUMBERS: frozenset[type] = frozenset({int, float, _NONE})
_SCALARS: frozenset[type] = frozenset({int, float, str, bool, _NONE})
_CHECK_KEYS = frozenset({"name", "value", "threshold", "passed"})
_MAX_RULES = 256
_KNOWN_NAMES = frozenset(WIRE_NAMES.values()) | {"v"}


class Payload(NamedTuple):
    """One chunk of decisions that readers may trust."""

    columns: DecisionColumns
    text: bytes | None
    """What was sent, when it can be stored as it is; None when the stored text is made of the columns."""


def parse(raw: bytes) -> Payload:
    """
    Return what one chunk holds; raw is the UTF-8 text of ``xray.decisions.data``.

    Columns that this version does not know are left out. Raises ``DecisionsUnreadable``.
    """
    if len(raw) > MAX_TEXT_BYTES:
        raise DecisionsUnreadable(f"{len(raw)} bytes of text, at most {MAX_TEXT_BYTES} are read")
    try:
        sent = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise DecisionsUnreadable("the text is not JSON; was it cut on its way?") from None
    if not isinstance(sent, dict):
        raise DecisionsUnreadable("the text is not a JSON object")
    if sent.get("v") != VERSION:
        raise DecisionsUnreadable(f"version {str(sent.get('v'))[:20]} is not known, {VERSION} is")
    n = sent.get("n")
    if type(n) is not int or n < 0:
        raise DecisionsUnreadable("n is not a count")
    columns = _checked(sent, n)
    as_sent = _KNOWN_NAMES.issuperset(sent) and columns.rules == sent.get("rules")
    return Payload(columns, raw if as_sent else None)


def from_list(decisions: Any) -> DecisionColumns:
    """
    Return the columns of decisions given as objects, as in the answers of the query API.

    ``item_id`` and ``verdict`` are required. Raises ``DecisionsUnreadable``.
    """
    if not isinstance(decisions, list):
        raise DecisionsUnreadable("decisions is not an array")
    reasons, texts = _Dictionary(), _Dictionary()
    letters: list[str] = []
    for position, decision in enumerate(decisions):
        if not isinstance(decision, dict):
            raise DecisionsUnreadable(f"decision {position} is not an object")
        letter = (
            _LETTERS.get(decision.get("verdict") or "") if isinstance(decision.get("verdict"), str) else None
        )
        if letter is None:
            raise DecisionsUnreadable(
                f"decision {position}: verdict {str(decision.get('verdict'))[:40]!r} is none of "
                + ", ".join(sorted(semconv.VERDICTS.values()))
            )
        letters.append(letter)
    columns: dict[str, list[Any]] = {
        "reason": [reasons.index(decision.get("reason"), "reason") for decision in decisions],
        "text": [texts.index(decision.get("reason_text"), "reason_text") for decision in decisions],
        "score": [decision.get("score") for decision in decisions],
        "value": [decision.get("value") for decision in decisions],
        "threshold": [decision.get("threshold") for decision in decisions],
        "checks": [decision.get("checks") for decision in decisions],
        "p": [decision.get("probability") for decision in decisions],
    }
    given = {name: column for name, column in columns.items() if column.count(None) < len(column)}
    sent = {
        "item": [decision.get("item_id") for decision in decisions],
        "verdict": "".join(letters),
        "reasons": reasons.words,
        "texts": texts.words,
        "missing": [at for at, decision in enumerate(decisions) if decision.get("value_missing") is True],
    }
    return _checked(sent | given, len(decisions))


class _Dictionary:
    """Words in the order of their first use."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    @property
    def words(self) -> list[str]:
        return list(self._positions)

    def index(self, word: Any, column: str) -> int | None:
        if word is None:
            return None
        if not isinstance(word, str):
            raise DecisionsUnreadable(f"{column}: {str(word)[:40]!r} is not a text")
        return self._positions.setdefault(word, len(self._positions))


def _checked(sent: Mapping[str, Any], n: int) -> DecisionColumns:
    item = sent.get("item")
    if not _are_texts(item) or len(item) != n:
        raise DecisionsUnreadable(f"item is not an array of {n} texts")
    verdict = sent.get("verdict")
    if type(verdict) is not str or len(verdict) != n or not _are_letters(verdict):
        raise DecisionsUnreadable(f"verdict is not {n} letters of {''.join(semconv.VERDICTS)}")
    reasons, texts = _words(sent, "reasons"), _words(sent, "texts")
    probability = _column(sent, "p", n, _NUMBERS)
    given = _given(probability)
    if given and not (min(given) > 0 and max(given) <= 1):
        raise DecisionsUnreadable("p holds a number that is no probability above 0")
    return DecisionColumns(
        count=n,
        item=item,
        verdict=verdict,
        reasons=reasons,
        reason=_positions(sent, "reason", n, len(reasons or ())),
        texts=texts,
        text=_positions(sent, "text", n, len(texts or ())),
        score=_column(sent, "score", n, _NUMBERS),
        value=_column(sent, "value", n, _SCALARS),
        threshold=_column(sent, "threshold", n, _SCALARS),
        missing=_missing(sent, n),
        checks=_checks(sent, n),
        probability=probability,
        rules=_rules(sent.get("rules")),
    )


def _rules(sent: Any) -> Mapping[str, Any] | None:
    """Return what is understood of a declaration; one that is not costs no decision."""
    if not isinstance(sent, dict):
        return None
    evaluation, independent, comparators = (
        sent.get(name) for name in ("evaluation", "item_independent", "comparators")
    )
    found: dict[str, Any] = {}
    if type(evaluation) is str and evaluation in semconv.EVALUATIONS:
        found["evaluation"] = evaluation
    if type(independent) is bool:
        found["item_independent"] = independent
    missing = sent.get("missing")
    if (type(missing) is str and missing in semconv.MISSING_VALUES) or _says(missing, semconv.MISSING_VALUES):
        found["missing"] = missing
    if _says(comparators, semconv.COMPARATORS):
        found["comparators"] = comparators
    return found or None


def _says(sent: Any, words: frozenset[str]) -> bool:
    """Whether it gives rules words of these."""
    return (
        isinstance(sent, dict)
        and len(sent) <= _MAX_RULES
        and all(type(word) is str and word in words for word in sent.values())
    )


def _words(sent: Mapping[str, Any], name: str) -> Sequence[str] | None:
    words = sent.get(name)
    if words is not None and not _are_texts(words):
        raise DecisionsUnreadable(f"{name} is not an array of texts")
    return words or None


def _are_texts(column: Any) -> TypeGuard[list[str]]:
    if type(column) is not list:
        return False
    try:
        # A third of the time of asking each for its type.
        "".join(column)
    except TypeError:
        return False
    return True


def _are_letters(verdict: str) -> bool:
    return not verdict.encode("utf-8", "replace").translate(None, _VERDICT_LETTERS)


def _column(sent: Mapping[str, Any], name: str, n: int, types: frozenset[type]) -> Any:
    """Return an array of n values of these types, or one such value for all."""
    column = sent.get(name)
    if type(column) is list:
        if len(column) != n:
            raise DecisionsUnreadable(f"{name} has {len(column)} values for {n} candidates")
        if not types.issuperset(map(type, column)):
            raise DecisionsUnreadable(f"{name} holds a value of a wrong type")
    elif type(column) not in types:
        raise DecisionsUnreadable(f"{name} is of a wrong type")
    return column


def _positions(sent: Mapping[str, Any], name: str, n: int, words: int) -> Any:
    """Return null or a position for each; a number that equals a position is one, 1.0 as well as 1."""
    column = sent.get(name)
    each = column if type(column) is list else [column]
    if each is column and len(column) != n:
        raise DecisionsUnreadable(f"{name} has {len(column)} values for {n} candidates")
    try:
        fits = frozenset((None, *range(words))).issuperset(each)
    except TypeError:
        fits = False
    if not fits:
        raise DecisionsUnreadable(f"{name} points past its {words} words")
    return column


def _given(column: Any) -> set[Any]:
    """Return the different values of a checked column, without null."""
    return set(column if type(column) is list else (column,)) - {None}


def _missing(sent: Mapping[str, Any], n: int) -> Sequence[int] | None:
    missing = sent.get("missing")
    if missing is None:
        return None
    if type(missing) is not list or any(type(position) is not int for position in missing):
        raise DecisionsUnreadable("missing is not an array of positions")
    if missing and not (min(missing) >= 0 and max(missing) < n):
        raise DecisionsUnreadable(f"missing points past its {n} candidates")
    return sorted(set(missing)) or None


def _checks(sent: Mapping[str, Any], n: int) -> Any:
    checks = sent.get("checks")
    if checks is None:
        return None
    if type(checks) is not list or len(checks) != n:
        raise DecisionsUnreadable(f"checks is not an array of {n}")
    for of_candidate in checks:
        if of_candidate is None:
            continue
        if type(of_candidate) is not list or not all(map(_is_check, of_candidate)):
            raise DecisionsUnreadable("checks holds something that is not {name, value, threshold, passed}")
    return checks


def _is_check(check: Any) -> bool:
    return (
        type(check) is dict
        and _CHECK_KEYS.issuperset(check)
        and type(check.get("name")) is str
        and type(check.get("passed")) in (bool, _NONE)
        and type(check.get("value")) in _SCALARS
        and type(check.get("threshold")) in _SCALARS
    )
