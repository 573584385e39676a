"""How a pipeline says what became of its candidates, one by one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from xray_otel._columns import (
    DEFERRED,
    ELIMINATED,
    KEPT,
    MERGED,
    NOT_SELECTED,
    SCORED,
    SELECTED,
    SPILL_ROWS,
    STRIDE,
    Recorder,
    is_score,
)
from xray_otel._encode import MISSING, scalar, shown, text_of
from xray_otel._frames import is_absent
from xray_otel._guard import Guard
from xray_otel._item_ids import Key, item_id
from xray_otel._text import NAME_BYTES
from xray_otel.errors import UsageError

Check = Mapping[str, object]
"""
One check of a candidate: ``{"name": …, "value": …, "threshold": …, "passed": bool}``; a value of None
was missing, one that is left out is not recorded.
"""
PLAIN = frozenset({float, int, bool, type(None)})
"""Types that are recorded as they are."""
FULL = SPILL_ROWS * STRIDE
"""Entries of the flat rows at which a running step sends them."""
CLOSED = range(FULL)
"""Stands for the rows of a step that does not record: as long as full ones, so nothing is added."""
MAX_FOLLOWED = 10_000
_MAX_CHECKS = 32
_making = threading.RLock()


def _reset_after_fork() -> None:
    """Replaces the lock, which another thread of the parent may have held."""
    global _making
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


class Judging:
    """
    The recording part of a step. No method raises in the mode ``best_effort``.

    Each call is one decision and counts as one, so a list with an item twice counts it
    twice, and a filter can keep the first and reject the second. Only a score and a verdict
    of one item are taken together. Several checks of one candidate are one call with ``checks``.

    item: the candidate's id as string or number, or an object or mapping with ``id``;
    ``key`` names another field, or is a function from the item to its id. An item without
    it is named by its text, which rarely is the same in the next step; ``strict`` refuses it.
    reason: a short code that is counted (``price_too_high``); text: words for this one
    candidate, at most 2 KiB. value and threshold: what was compared with what, for kept
    candidates too; ``MISSING`` as value says that there was none to compare.
    checks: when several checks were made, each as ``{name, value, threshold, passed}``.
    """

    __slots__ = ("_active", "_followed", "_guard", "_recorder", "_rows")

    _called: ClassVar[str] = "step"
    _active: bool
    _followed: set[str]
    _guard: Guard
    _recorder: Recorder | None
    _rows: list[Any] | range
    """
    Where ``accept`` and ``reject`` add their rows by themselves: they run once per candidate of
    every filter, and a call of ``_judge`` doubles their time, as arguments by keyword alone add
    7 %. ``CLOSED`` before the first decision and when the step has ended.
    """

    def _recording(self) -> Recorder:
        """What collects the decisions; made at the first, because many steps judge nothing."""
        recorder = self._recorder
        if recorder is None:
            with _making:
                recorder = self._recorder = self._recorder or self._new_recorder()
        if self._active and not self._guard.strict:  # which looks at each row
            self._rows = recorder.rows
        return recorder

    def _new_recorder(self) -> Recorder:
        return Recorder()

    def _close(self) -> None:
        """From now on nothing is recorded."""
        self._active = False
        self._rows = CLOSED

    def _spill(self) -> None:
        """Called when many decisions have gathered; the step sends them early."""

    def accept(
        self,
        item: Any,
        reason: str | None = None,
        text: str | None = None,
        score: float | None = None,
        value: Any = None,
        threshold: Any = None,
        key: Key = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        """The candidate goes on."""
        rows = self._rows
        if (
            len(rows) < FULL
            and type(item) is str
            and key is None
            and (type(value) is float or value is None)
            and (type(threshold) is float or threshold is None)
            and text is None
            and checks is None
        ):
            rows += (item, KEPT, reason, score, value, threshold)  # type: ignore[operator]
        else:
            self._judge(KEPT, item, reason, text, score, value, threshold, key, checks)

    def reject(
        self,
        item: Any,
        reason: str | None,
        text: str | None = None,
        score: float | None = None,
        value: Any = None,
        threshold: Any = None,
        key: Key = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        """The candidate is removed, for ``reason``."""
        rows = self._rows
        if (
            len(rows) < FULL
            and type(item) is str
            and key is None
            and (type(value) is float or value is None)
            and (type(threshold) is float or threshold is None)
            and text is None
            and checks is None
        ):
            rows += (item, ELIMINATED, reason, score, value, threshold)  # type: ignore[operator]
        else:
            self._judge(ELIMINATED, item, reason, text, score, value, threshold, key, checks)

    def score(
        self,
        item: Any,
        score: float,
        reason: str | None = None,
        text: str | None = None,
        *,
        key: Key = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        """The candidate got a score and goes on; a verdict in the same step takes the score over."""
        self._judge(SCORED, item, reason, text, score, None, None, key, checks)

    def select(
        self,
        item: Any,
        reason: str | None = None,
        text: str | None = None,
        score: float | None = None,
        value: Any = None,
        threshold: Any = None,
        *,
        key: Key = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        """The candidate was chosen."""
        self._judge(SELECTED, item, reason, text, score, value, threshold, key, checks)

    def not_select(
        self,
        item: Any,
        reason: str | None = None,
        text: str | None = None,
        score: float | None = None,
        value: Any = None,
        threshold: Any = None,
        *,
        key: Key = None,
        checks: Sequence[Check] | None = None,
    ) -> None:
        """The candidate lost against the chosen one."""
        self._judge(NOT_SELECTED, item, reason, text, score, value, threshold, key, checks)

    def defer(
        self,
        item: Any,
        reason: str | None = None,
        text: str | None = None,
        score: float | None = None,
        value: Any = None,
        threshold: Any = None,
        *,
        key: Key = None,
    ) -> None:
        """The candidate's verdict is put off, for instance to a later batch or a person."""
        self._judge(DEFERRED, item, reason, text, score, value, threshold, key, None)

    def merge(
        self,
        item: Any,
        into: Any,
        reason: str | None = None,
        text: str | None = None,
        *,
        key: Key = None,
    ) -> None:
        """The candidate became part of ``into`` (a duplicate); that one's id is recorded as value."""
        into = self._id(into, key) if self._active else None
        self._judge(MERGED, item, reason, text, None, into, None, key, None)

    def _judge(
        self,
        verdict: str,
        item: Any,
        reason: Any,
        text: Any,
        score: Any,
        value: Any,
        threshold: Any,
        key: Key,
        checks: Any,
    ) -> None:
        # Reason, text and score are cleaned a column at a time when the step takes them up; items
        # and observed values are read now, because they may change.
        if not self._active:
            self._unheard()
            return
        if type(item) is not str or key is not None:
            item = self._id(item, key)
        if type(value) is not float and value is not None:
            value = self._observed_value(value)
        if type(threshold) is not float and threshold is not None:
            threshold = self._observed_value(threshold)
        if score is not None and self._guard.strict and not is_score(score):
            self._complain(f"score must be a number, got {shown(score)}")
        said = verdict if text is None and checks is None else (verdict, text, self._checks(checks))
        rows = self._recording().rows
        rows += (item, said, reason, score, value, threshold)
        if len(rows) >= FULL:
            self._spill()

    def _observed_value(self, value: Any) -> Any:
        """What becomes of a value or threshold that is no float."""
        self._recording().mixed = True
        return value if type(value) in PLAIN else observed(value)

    def follow(self, *items: Any, key: Key = None) -> None:
        """
        Decisions about these items are kept, in this step and in all later ones of the run in
        this process, however little is captured of others by ``sampled``.
        """
        if not self._active:
            self._unheard()
            return
        for item in items:
            if len(self._followed) < MAX_FOLLOWED:
                self._followed.add(self._id(item, key))
            else:
                self._complain(f"a run follows at most {MAX_FOLLOWED} items; {shown(item)} is left out")

    def _id(self, item: Any, key: Key) -> str:
        try:
            return item_id(item, key)
        except Exception as error:  # noqa: BLE001 - the host's item may do anything when it is asked
            wanted = shown("id" if key is None else key)
            self._complain(f"{shown(item)} has no {wanted} ({type(error).__name__}); key= names its id")
            return text_of(item, NAME_BYTES)

    def _checks(self, checks: Any) -> list[dict[str, Any]] | None:
        """A snapshot of a candidate's checks; None where one is none, because the others mislead."""
        if checks is None:
            return None
        form = "{name, value, threshold, passed}"
        try:
            made, count = checks[:_MAX_CHECKS], len(checks)
            found = [_check(check) for check in made]
            plain = all("name" in check and _CHECK_KEYS.issuperset(check) for check in made)
        except Exception:  # noqa: BLE001 - what is no list of mappings is not recorded
            self._complain(f"checks must be a list of {form}, got {shown(checks)}")
            return None
        if not plain:
            self._complain(f"a check is {form}, what else it has is left out; got {shown(made)}")
        if count > _MAX_CHECKS:
            self._complain(f"a candidate has at most {_MAX_CHECKS} checks, got {count}")
        return found

    def _hears(self) -> bool:
        """Whether the step records now; says so when it does not although X-Ray is on."""
        if not self._active:
            self._unheard()
        return self._active

    def _unheard(self) -> None:
        """Called when something is said to a step that does not record."""

    def _complain(self, message: str) -> None:
        self._guard.failed("step", UsageError(message))


def observed(value: Any) -> Any:
    """A snapshot of an observed value or threshold: plain, bounded, or MISSING itself."""
    if type(value) is str and len(value) <= NAME_BYTES:
        return value
    return value if value is MISSING else scalar(value)


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    """One of them. Raises where it is none."""
    found: dict[str, Any] = {"name": text_of(check.get("name", ""), NAME_BYTES)}
    if "value" in check:
        found["value"] = None if check["value"] is MISSING else scalar(check["value"])
    found["threshold"] = scalar(check.get("threshold"))
    passed = check.get("passed")
    found["passed"] = None if passed is None or is_absent(passed) else bool(passed)
    return found


_CHECK_KEYS = frozenset({"name", "value", "threshold", "passed"})
