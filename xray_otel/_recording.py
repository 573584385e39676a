"""How a pipeline says what became of its candidates, as whole columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from xray_otel._columns import DEFERRED, ELIMINATED, KEPT, SPILL_ROWS, Columns, filled
from xray_otel._encode import Key, Missing
from xray_otel._guard import guarded
from xray_otel._judging import PLAIN, Judging, observed
from xray_otel.semconv import VERDICTS

Column = Sequence[Any] | str | int | float | bool | Missing | None
"""A value for all candidates, or a sequence with one entry per candidate."""

_LETTERS = {word: letter for letter, word in VERDICTS.items()} | {letter: letter for letter in VERDICTS}
_ALL_LETTERS = frozenset(VERDICTS)


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
        verdicts: Sequence[str] | str,
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

        verdicts: one word for all (``kept``, ``eliminated``, ``scored``, ``selected``,
        ``not_selected``, ``deferred``, ``merged``), a word per candidate, or a string with
        one letter per candidate (K E S W N D M).
        The other columns: one value for all, or one entry per candidate (a list, a tuple,
        an array), None where there is none.

        In mode ``strict`` a column of another length or an unknown verdict raises
        UsageError; otherwise such a column is left out and such a verdict is ``deferred``.
        """
        if not self._hears():
            return
        self._recorder.touched = True
        columns = self._columns(items, verdicts, key)
        count = len(columns)
        if not count:
            return
        columns.reasons = self._column("reasons", reasons, count)
        columns.texts = self._column("texts", texts, count)
        columns.scores = self._column("scores", scores, count)
        columns.values = self._observed("values", values, count)
        columns.thresholds = self._observed("thresholds", thresholds, count)
        self._recorder.add(columns)
        if len(self._recorder) >= SPILL_ROWS:
            self._spill()

    def _columns(self, items: Iterable[Any], verdicts: Sequence[str] | str, key: Key) -> Columns:
        ids = items if isinstance(items, list | tuple) else list(items)
        if key is not None or not {str}.issuperset(map(type, ids)):
            ids = [self._id(item, key) for item in ids]
        count = len(ids)
        if isinstance(verdicts, str) and verdicts in _LETTERS:
            return Columns(list(ids), _LETTERS[verdicts] * count)
        letters = list(islice(verdicts, count + 1))
        if not _ALL_LETTERS.issuperset(letters):
            letters = [_LETTERS.get(verdict, "") for verdict in letters]
        if len(letters) != count:
            self._complain(f"record() got {count} items and another number of verdicts")
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
        entries = column.tolist() if hasattr(column, "tolist") else column
        # Not list(entries): a mistaken column may be endless.
        found = list(islice(entries, count + 1)) if isinstance(entries, Iterable) else [entries] * count
        if len(found) != count:
            self._complain(f"record() got {count} items and another number of {name}")
            return None
        return filled(found)

    def _observed(self, name: str, column: Any, count: int) -> list[Any] | None:
        if column is not None and (type(column) is str or type(column) in PLAIN):
            return [observed(column)] * count
        found = self._column(name, column, count)
        if found is None or PLAIN.issuperset(map(type, found)):
            return found
        return [None if entry is None else observed(entry) for entry in found]
