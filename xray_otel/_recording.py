"""How a pipeline says what became of its candidates, as whole columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from types import NoneType
from typing import Any

from xray_otel._columns import DEFERRED, ELIMINATED, KEPT, SPILL_ROWS, Columns, filled, is_score
from xray_otel._encode import Missing, shown, text_of
from xray_otel._frames import is_frame, listed
from xray_otel._guard import guarded
from xray_otel._item_ids import Key
from xray_otel._judging import PLAIN, Judging, observed
from xray_otel._text import NAME_BYTES
from xray_otel._words import counted
from xray_otel.semconv import VERDICTS

Column = Sequence[Any] | str | int | float | bool | Missing | None
"""A value for all candidates, or a sequence with one entry per candidate."""

_LETTERS = {word: letter for letter, word in VERDICTS.items()} | {letter: letter for letter in VERDICTS}
_ALL_LETTERS = frozenset(VERDICTS)


_MAX_ITEMS = 2_000_000
"""A mistaken iterable may be endless."""


class Recording(Judging):
    """The bulk part of a step: a call records many candidates. No method raises in ``best_effort``."""

    __slots__ = ()

    def accept_all(
        self,
        items: Iterable[Any],
        reason: Column = None,
        *,
        scores: Column = None,
        values: Column = None,
        thresholds: Column = None,
        texts: Column = None,
        key: Key = None,
    ) -> None:
        """All candidates go on. The columns are as in ``record``."""
        self.record(items, KEPT, reason, scores, values, thresholds, texts, key=key)

    def reject_all(
        self,
        items: Iterable[Any],
        reason: Column,
        *,
        scores: Column = None,
        values: Column = None,
        thresholds: Column = None,
        texts: Column = None,
        key: Key = None,
    ) -> None:
        """All candidates are removed. The columns are as in ``record``."""
        self.record(items, ELIMINATED, reason, scores, values, thresholds, texts, key=key)

    @guarded
    def record(
        self,
        items: Iterable[Any],
        verdicts: Sequence[str] | Sequence[bool] | str,
        reasons: Column = None,
        scores: Column = None,
        values: Column = None,
        thresholds: Column = None,
        texts: Column = None,
        *,
        key: Key = None,
    ) -> None:
        """
        Many candidates at once, in the order they were judged.

        items: as for ``accept``, also an array or series, or a frame with a column of ids that ``key`` names.
        verdicts: one word for all (``kept``, ``eliminated``, ``scored``, ``selected``,
        ``not_selected``, ``deferred``, ``merged``), a word per candidate, a string with one
        letter per candidate (K E S W N D M), or what a filter found: a list or array of
        booleans, true for kept and false for eliminated, which is the fastest.
        The other columns: one value for all, or one entry per candidate (a list, a tuple,
        an array), None where there is none. One reason beside booleans is that of the eliminated.

        In mode ``strict`` a column of another length or an unknown verdict raises
        UsageError; otherwise such a column is left out and such a verdict is ``deferred``.
        """
        if not self._hears():
            return
        recorder = self._recording()
        recorder.touched = True
        passed = _booleans(verdicts)
        columns = self._columns(items, verdicts, passed, key)
        count = len(columns)
        if not count:
            return
        if passed is not None and len(passed) == count and isinstance(reasons, str):
            _give_reason(columns, text_of(reasons, NAME_BYTES))
        else:
            columns.reasons = self._column("reasons", reasons, count)
        columns.texts = self._column("texts", texts, count)
        columns.scores = self._column("scores", scores, count)
        if self._guard.strict:
            self._check_scores(columns.scores)
        columns.values, plain_values = self._observed("values", values, count)
        columns.thresholds, plain_thresholds = self._observed("thresholds", thresholds, count)
        columns.plain = plain_values and plain_thresholds
        recorder.add(columns)
        if len(recorder) >= SPILL_ROWS:
            self._spill()

    def _columns(
        self, items: Iterable[Any], verdicts: Sequence[Any], passed: bytes | None, key: Key
    ) -> Columns:
        if is_frame(items) and not callable(key):
            items, key = items["id" if key is None else key], None  # type: ignore[index]  # a frame
        ids = items if isinstance(items, list | tuple) else list(islice(listed(items), _MAX_ITEMS + 1))
        if len(ids) > _MAX_ITEMS:
            self._complain(f"record() takes at most {_MAX_ITEMS} items in a call; the others are left out")
            ids = ids[:_MAX_ITEMS]
        if key is not None or not _are_texts(ids):
            ids = [self._id(item, key) for item in ids]
        count = len(ids)
        if passed is not None:
            text = passed.translate(_LETTERS_OF_BOOLEANS).decode()
            if len(text) == count:
                return Columns(list(ids), text)
            verdicts = list(text)
        if isinstance(verdicts, str) and verdicts in _LETTERS:
            return Columns(list(ids), _LETTERS[verdicts] * count)
        letters = list(islice(verdicts, count + 1))
        if not _are_letters(letters):
            letters = [_LETTERS.get(word, "") if isinstance(word, str) else "" for word in letters]
        if len(letters) != count:
            self._complain(f"record() got {counted(count, 'item')} and another number of verdicts")
            letters = (letters + [DEFERRED] * count)[:count]
        if "" in letters:
            self._complain(f"record() takes the verdicts {', '.join(VERDICTS.values())} or their letters")
            letters = [letter or DEFERRED for letter in letters]
        return Columns(list(ids), "".join(letters))

    def _column(self, name: str, column: Any, count: int) -> list[Any] | None:
        """The column as a new list of ``count`` entries; None when nothing is in it."""
        if column is None:
            return None
        if isinstance(column, str | int | float | Missing):
            return [column] * count
        entries = listed(column)
        # Not always list(entries): a mistaken column may be endless.
        if type(entries) is list and len(entries) == count:
            return filled(entries.copy())
        found = list(islice(entries, count + 1)) if isinstance(entries, Iterable) else [entries] * count
        if len(found) != count:
            self._complain(f"record() got {counted(count, 'item')} and another number of {name}")
            return None
        return filled(found)

    def _check_scores(self, scores: list[Any] | None) -> None:
        for score in scores or ():
            if not is_score(score):
                self._complain(f"scores must be numbers, got {shown(score)}")

    def _observed(self, name: str, column: Any, count: int) -> tuple[list[Any] | None, bool]:
        """The column, and whether it is ``plain``."""
        if column is not None and (type(column) is str or type(column) in PLAIN):
            return [observed(column)] * count, type(column) is float
        found = self._column(name, column, count)
        if found is not None and _add_up(found) and found[0] != found[-1]:
            return found, True
        kinds = set(map(type, found or ()))
        if kinds <= _FLOATS:
            return found, True
        if kinds <= PLAIN or found is None:
            return found, False
        return [None if entry is None else observed(entry) for entry in found], False


def _booleans(verdicts: Any) -> bytes | None:
    """A byte for each, 0 for false; None when they are no booleans."""
    if isinstance(verdicts, str | bytes):
        return None
    found = listed(verdicts)
    if not isinstance(found, list | tuple) or not found:
        return None
    try:
        if type(found[0]) is bool:
            return bytes(found)
        # A list of numpy's own, as comparing one value after the other gives it.
        if all(getattr(getattr(entry, "dtype", None), "kind", None) == "b" for entry in found):
            return bytes(map(bool, found))
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        pass
    return None


def _add_up(column: list[Any]) -> bool:
    """Whether these are numbers, floats among them: a fifth of the time of asking each for its type."""
    try:
        return type(sum(column)) is float
    except Exception:  # noqa: BLE001 - the host's value may do anything when it is asked
        return False


def _are_letters(verdicts: Sequence[Any]) -> bool:
    try:
        return _ALL_LETTERS.issuperset(verdicts)
    except TypeError:  # something that cannot be hashed is among them
        return False


def _are_texts(ids: Sequence[Any]) -> bool:
    try:
        "".join(ids)  # a quarter of the time of asking each for its type
    except TypeError:
        return False
    return True


_FLOATS = frozenset({float, NoneType})


def _give_reason(columns: Columns, reason: str) -> None:
    """Gives the reason to all that are eliminated, the others being kept, and counts it on the way."""
    letters = columns.verdicts
    out = letters.count(ELIMINATED)
    kept = len(letters) - out
    if kept * _FEW < len(letters):  # as in most filters: found a letter at a time, in a tenth of the time
        reasons: list[str | None] = [reason] * len(letters)
        places: list[int | None] = [0] * len(letters)
        at = letters.find(KEPT)
        while at >= 0:
            reasons[at] = places[at] = None
            at = letters.find(KEPT, at + 1)
        columns.reason_places = places
    else:
        reasons = list(map({ELIMINATED: reason, KEPT: None}.__getitem__, letters))
    columns.reasons = reasons
    counts = {reasons[0]: 0, reason: out, None: kept}  # the first one used comes first
    columns.reason_counts = {word: count for word, count in counts.items() if count}


_FEW = 16
_LETTERS_OF_BOOLEANS = ELIMINATED.encode() + KEPT.encode() * 255
