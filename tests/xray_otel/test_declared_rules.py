"""What a step says of its rules, as it arrives, and the filter that compares by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import xray_otel as xray
from collector.decisions import parse
from tests.fixtures.otlp_receiver import HttpReceiver

PRICES: dict[str, Any] = {"a": 10, "b": 50.0, "c": 99, "d": None, "e": float("nan"), "f": xray.MISSING}
COMPARED = {
    "evaluation": "single",
    "comparators": {"dear": "<="},
    "missing": "fails",
    "item_independent": True,
}


def declared(receiver: HttpReceiver, use: Callable[[xray.Step], object]) -> Any:
    """What the collector understands of the rules that go with the step's decisions."""
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, mode="strict")
    with xray.run("r"), xray.step("price", type="filter") as step:
        use(step)
    assert xray.flush(30)
    [event] = receiver.received.events("xray.step.decisions")
    sent = str(event.attributes["xray.decisions.data"])
    columns = parse(sent.encode()).columns
    assert json.loads(sent).get("rules") == columns.rules
    return columns.rules


def dear(step: xray.Step, prices: dict[str, Any] = PRICES, **options: Any) -> list[str]:
    """Keep what costs at most 50."""
    return step.filter(prices, value=prices.get, comparator="<=", threshold=50, reason="dear", **options)


def test_a_comparison_declares_itself(otlp_receiver: HttpReceiver) -> None:
    """The client compares, so it knows the rule; values that are missing fail."""
    kept: list[str] = []
    assert declared(otlp_receiver, lambda step: kept.extend(dear(step))) == COMPARED
    assert kept == ["a", "b"]


@pytest.mark.parametrize(("sign", "passing"), [("==", ["b"]), ("!=", ["a", "c"])])
def test_a_comparison_for_one_value(otlp_receiver: HttpReceiver, sign: Any, passing: list[str]) -> None:
    """Values that are missing pass neither."""
    kept: list[str] = []

    def use(step: xray.Step) -> None:
        options: Any = {"comparator": sign, "threshold": 50, "reason": "other"}
        kept.extend(step.filter(PRICES, value=PRICES.get, **options))

    assert declared(otlp_receiver, use) == COMPARED | {"comparators": {"other": sign}}
    assert kept == passing


def test_missing_values_of_checks(otlp_receiver: HttpReceiver) -> None:
    """Each check has a word of its own; a value of None goes out as null, one left out does not."""
    made: Any = [
        {"name": "price", "value": xray.MISSING, "threshold": 50, "passed": False},
        {"name": "size", "value": None, "threshold": 5, "passed": True},
        {"name": "stock", "threshold": 1, "passed": True},
    ]

    def use(step: xray.Step) -> None:
        step.declare(missing={"price": "fails", "size": "passes"})
        step.reject("a", "price", checks=made)

    assert declared(otlp_receiver, use) == {"missing": {"price": "fails", "size": "passes"}}
    [event] = otlp_receiver.received.events("xray.step.decisions")
    [sent] = json.loads(str(event.attributes["xray.decisions.data"]))["checks"]
    assert [check.get("value", "left out") for check in sent] == [None, None, "left out"]


def test_what_a_check_has_besides_is_left_out(otlp_receiver: HttpReceiver) -> None:
    """And no more than that: the other checks of the candidate, and the rest of this one, are recorded."""
    made: Any = [
        {"name": "price", "value": 60, "threshold": 50, "passed": False, "unit": "EUR"},
        {"value": 1},
    ]
    xray.configure(endpoint=otlp_receiver.endpoint)
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.reject("a", "price", checks=made)
    assert xray.flush(20)
    [event] = otlp_receiver.received.events("xray.step.decisions")
    [sent] = json.loads(str(event.attributes["xray.decisions.data"]))["checks"]
    assert sent == [
        {"name": "price", "value": 60, "threshold": 50, "passed": False},
        {"name": "", "value": 1, "threshold": None, "passed": None},
    ]


@pytest.mark.parametrize(
    "use",
    [
        lambda step: step.filter(PRICES, lambda item: item == "a", value=PRICES.get, threshold=50),
        lambda step: (dear(step), step.accept("g")),
        lambda step: (dear(step), dear(step, {"g": 1})),
        lambda step: dear(step, {"a": True}),
        lambda step: dear(step, {"a": 2**63}),
    ],
    ids=["predicate", "another decision", "two filters", "no number", "beyond 64 bits"],
)
def test_what_does_not_declare_itself(
    otlp_receiver: HttpReceiver, use: Callable[[xray.Step], object]
) -> None:
    """A predicate may hide a second rule; a step with more than one comparison has several."""
    assert declared(otlp_receiver, use) is None


def test_what_is_declared_by_hand_goes_before(otlp_receiver: HttpReceiver) -> None:
    """The program knows better, for instance that values depend on the other candidates."""

    def use(step: xray.Step) -> None:
        step.declare(item_independent=False)
        step.declare(missing="passes", comparators={"dear": "<"})
        dear(step)

    expected = COMPARED | {"item_independent": False, "missing": "passes", "comparators": {"dear": "<"}}
    assert declared(otlp_receiver, use) == expected


@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"comparator": "="},
        {"comparator": "<", "threshold": 1},
        {"comparator": "<", "value": len},
    ],
)
def test_a_filter_without_a_rule(otlp_receiver: HttpReceiver, wrong: Any, disabled: bool) -> None:
    """It could only let all pass or none: an error of the program's, whether X-Ray is on or off."""
    xray.configure(endpoint=otlp_receiver.endpoint, mode="best_effort", disabled=disabled)
    with xray.run("r"), xray.step("s") as step, pytest.raises(TypeError):
        step.filter(["a"], **wrong)


def test_a_filter_with_two_rules(otlp_receiver: HttpReceiver) -> None:
    """The program's own decides; strict says so."""
    both: Any = {"predicate": bool, "comparator": "<", "value": len, "threshold": 1}
    xray.configure(endpoint=otlp_receiver.endpoint, mode="best_effort")
    with xray.run("r"), xray.step("s") as step:
        assert step.filter(["a", ""], **both) == ["a"]
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict")
    with pytest.raises(xray.UsageError), xray.run("r"), xray.step("s") as step:
        step.filter(["a"], **both)


@pytest.mark.parametrize(
    "wrong",
    [
        {"evaluation": "some"},
        {"comparators": {"a": "="}},
        {"missing": 1},
        {"missing": {"a": "?"}},
        {"item_independent": 1},
    ],
)
def test_words_that_are_not_known(otlp_receiver: HttpReceiver, wrong: Any) -> None:
    """Strict says so."""
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict")
    with pytest.raises(xray.UsageError), xray.run("r"), xray.step("s") as step:
        step.declare(**wrong)


@pytest.mark.parametrize("ends", ["rank", "select_best"])
def test_an_order_declares_itself(otlp_receiver: HttpReceiver, ends: str) -> None:
    """By construction it goes by the score alone; of the scores it knows nothing."""
    prices = {"a": 1.0, "b": 3.0, "c": 2.0}

    def use(step: xray.Step) -> None:
        if ends == "rank":
            assert step.rank(prices, prices.get, top_k=2) == ["b", "c"]
        else:
            assert step.select_best(prices, prices.get) == "b"

    assert declared(otlp_receiver, use) == {"evaluation": "single"}


@pytest.mark.parametrize("also", ["rejected", "ranked", "filtered"])
def test_an_order_that_is_not_all(otlp_receiver: HttpReceiver, also: str) -> None:
    """Who is judged by something else beside it speaks against that."""
    scores = {"a": 1.0, "b": 3.0}

    def use(step: xray.Step) -> None:
        if also == "filtered":
            dear(step, {"x": 10, "y": 99})
        best = step.rank(scores, scores.get, top_k=1)
        if also == "rejected":
            step.reject("x", "too_bad")
        elif also == "ranked":
            step.rank(best, scores.get)

    assert declared(otlp_receiver, use) is None
