"""Counts stay exact in the corners: no candidates, duplicates, scores beside verdicts, huge steps."""

from __future__ import annotations

import json
from itertools import repeat

import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received


def counts(received: Received, name: str) -> dict[str, object]:
    prefix = "xray.candidates."
    return {
        key.removeprefix(prefix): value
        for key, value in received.step(name).attributes.items()
        if key.startswith(prefix)
    }


@pytest.mark.parametrize(
    "judge",
    [
        lambda step: step.filter([], bool),
        lambda step: step.rank(iter(()), score=float),
        lambda step: step.select_best([], score=float),
        lambda step: step.record([], "K"),
        lambda step: step.reject_all([], "no"),
    ],
)
def test_no_candidates_are_zero_and_not_unknown(traced: Received, judge):
    """A step that was given an empty list says 0 in and 0 out, not nothing."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        judge(step)
    xray.flush()
    assert counts(traced, "s") == {"in": 0, "out": 0}


def test_a_step_that_judges_nothing_says_nothing(traced: Received):
    """Without any decision and any count there is no count."""
    with xray.run("r"), xray.step("s", type="filter"):
        pass
    xray.flush()
    assert counts(traced, "s") == {}


def test_a_deduplicating_filter_counts_each_occurrence(traced: Received):
    """An item kept once and rejected once is two candidates: so a filter of duplicates works."""
    seen: set[str] = set()

    def first(item: str) -> object:
        new = item not in seen
        seen.add(item)
        return new or xray.Reject("duplicate")

    with xray.run("r"), xray.step("s", type="filter") as step:
        assert step.filter(iter("abca"), first) == ["a", "b", "c"]
    xray.flush()
    assert counts(traced, "s") == {"in": 4, "out": 3, "kept": 3, "eliminated": 1}


@pytest.mark.parametrize("scores_first", [True, False])
def test_scores_and_verdicts_of_a_huge_step_count_once(traced: Received, scores_first):
    """A score and a verdict of one item count once, also when the first has long been sent."""
    items = [f"i{number}" for number in range(50_000)]
    with xray.run("r"), xray.step("s", type="filter", capture="metrics_only") as step:
        if scores_first:
            for item in items:
                step.score(item, 0.5)
            step.reject_all(items[10:], "low")
        else:
            step.reject_all(items[10:], "low")
            for item in items:
                step.score(item, 0.5)
    xray.flush(10)
    assert counts(traced, "s") == {"in": 50_000, "out": 10, "scored": 10, "eliminated": 49_990}
    assert traced.step("s").attributes["xray.score.mean"] == 0.5


@pytest.mark.parametrize(
    "word", ["kept", "scored", "merged", "selected", "deferred", "eliminated", "not_selected"]
)
def test_one_word_for_as_many_items_as_it_has_letters(traced: Received, word):
    """A word is the verdict of all candidates, whatever their number."""
    with xray.run("r"), xray.step("s") as step:
        step.record([f"i{number}" for number in range(len(word))], word)
    xray.flush()
    assert counts(traced, "s")[word] == len(word)


def test_equal_values_of_different_types_stay_apart(traced: Received):
    """1, 1.0 and True are equal and not the same; the column keeps them."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.record("abc", "K", values=[1, True, 1])
    xray.flush()
    [event] = traced.events("xray.step.decisions")
    assert json.loads(event.attributes["xray.decisions.data"])["value"] == [1, True, 1]


class Truth:
    """As numpy's booleans are."""

    class dtype:  # noqa: N801 - the name that is asked for
        kind = "b"

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [
        ([True, False, False], {"kept": 1, "eliminated": 2}),
        ([Truth(True), Truth(False), Truth(False)], {"kept": 1, "eliminated": 2}),
        ("KEE", {"kept": 1, "eliminated": 2}),
        (["kept", [], None], {"kept": 1, "deferred": 2}),
        ([True], {"kept": 1, "deferred": 2}),
        (b"E", {"deferred": 3}),
        ("E", {"eliminated": 3}),
    ],
)
def test_verdicts_of_record(otlp_receiver: HttpReceiver, verdicts, found):
    """One verdict is for all only as a word; what is missing or unknown is deferred, and nothing is lost."""
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=20)
    with xray.run("r"), xray.step("s") as step:
        step.record(["a", "b", "c"], verdicts)
    xray.flush()
    counted = counts(otlp_receiver.received, "s")
    assert counted.pop("in") == 3
    counted.pop("out")
    assert counted == found


@pytest.mark.parametrize("kept", [0, 1, 50, 99, 100])
def test_one_reason_beside_booleans(traced: Received, kept: int):
    """The eliminated get the reason and the kept none, be it few or many of either."""
    passed = [at < kept for at in range(100)]
    with xray.run("r"), xray.step("s") as step:
        step.record([str(at) for at in range(100)], passed, "dear")
    xray.flush()
    attributes = traced.step("s").attributes
    assert attributes.get("xray.reasons.counts", [0]) == [100 - kept]
    [event] = traced.events("xray.step.decisions")
    payload = json.loads(event.attributes["xray.decisions.data"])
    assert payload.get("reason", [None] * 100) == [None] * kept + [0] * (100 - kept)


def test_what_is_declared_without_end_stays_bounded(otlp_receiver: HttpReceiver):
    """Codes that are said again and again, and items that never end, take bounded memory."""
    xray.configure(endpoint=otlp_receiver.endpoint)
    traced = otlp_receiver.received
    with xray.run("r"), xray.step("s") as step:
        for at in range(2_000):
            step.reasons(f"code {at % 300}", "always")
        step.fields(repeat({"price": 2.0}), "price")
    xray.flush()
    attributes = traced.step("s").attributes
    assert len(attributes["xray.reasons.codes"]) == 256
    assert attributes["xray.fields.names"] == ["price"]
    assert attributes["xray.fields.mean"] == [2.0]
