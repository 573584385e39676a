"""What makes recording cheap must not change what is recorded."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from opentelemetry.sdk.trace import TracerProvider

import xray_otel as xray
from tests.fixtures.otlp_receiver import Received
from xray_otel._statistics import summarize_fields


def decided(traced: Received) -> dict[str, Any]:
    """The columns of the only chunk that arrived."""
    [event] = traced.events("xray.step.decisions")
    found: dict[str, Any] = json.loads(event.attributes["xray.decisions.data"])
    return found


def told(received: Received, name: str) -> tuple[dict[str, Any], Any]:
    """A step's attributes without those that differ each time, and its status."""
    record = received.step(name)
    each_time = ("xray.run.id", "xray.step.id")
    return {key: value for key, value in record.attributes.items() if key not in each_time}, record.status


@pytest.mark.parametrize("failing", [False, True])
def test_own_spans_say_what_those_of_opentelemetry_say(traced: Received, otlp_receiver, failing):
    """A step is the same on the wire, whether the provider is X-Ray's own or the team's."""
    for name, provider in (("own", None), ("theirs", TracerProvider(shutdown_on_exit=False))):
        xray.configure(
            endpoint=otlp_receiver.endpoint, mode="strict", flush_interval_ms=20, tracer_provider=provider
        )
        try:
            with xray.run("r"), xray.step(name, type="filter", why="band", top_k=3) as step:
                step.counts(in_=3, out=1)
                step.metric("mean", 0.5)
                step.sources({"a": 1, "b": 2})
                step.fields([{"price": 1.0}, {}], ["price"])
                step.reject("x", "no")
                if failing:
                    raise ValueError("wrong")
        except ValueError:
            pass
    xray.flush(10)
    (mine, my_status), (other, other_status) = told(traced, "own"), told(traced, "theirs")
    assert json.dumps(mine, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert my_status == other_status
    runs = {span.trace_id for span in traced.spans("run")}
    assert {traced.step("own").trace_id, traced.step("theirs").trace_id} == runs


def test_rows_of_all_kinds_keep_their_order(traced: Received):
    """Plain rows, rows with texts, checks or other types, and whole columns come in the order judged."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.reject("a", "dear", value=9.0, threshold=5.0)
        step.reject("b", "dear", "far too dear", value=9, threshold=5)
        step.record(["c", "d"], [True, False], "dear", values=[1.0, 7.0], thresholds=5.0)
        step.accept("e", checks=[{"name": "price", "value": 1, "threshold": 5, "passed": True}])
        step.accept("f", None, value=xray.MISSING, threshold="x")
    xray.flush(10)
    found = decided(traced)
    assert (found["item"], found["verdict"]) == (["a", "b", "c", "d", "e", "f"], "EEKEKK")
    assert [None if at is None else found["reasons"][at] for at in found["reason"]] == [
        "dear", "dear", None, "dear", None, None,
    ]  # fmt: skip
    assert found["value"] == [9.0, 9, 1.0, 7.0, None, None]
    assert found["threshold"] == [5.0, 5, 5.0, 5.0, None, "x"]
    assert found["missing"] == [5]
    assert [at is not None for at in found["text"]] == [False, True, False, False, False, False]
    assert [checks is not None for checks in found["checks"]] == [False] * 4 + [True, False]


def test_values_are_those_of_the_moment_of_the_call(traced: Received):
    """What is mutable is read when it is judged, not when the step ends."""
    item, value = {"id": "a"}, ["was"]
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.reject(item, "no", value=value)
        item["id"], value[0] = "b", "is"
    xray.flush(10)
    assert decided(traced)["item"] == ["a"]
    assert "was" in decided(traced)["value"]


def test_a_step_that_has_ended_records_nothing_more(traced: Received):
    """After the ``with`` a decision is refused, in the fast way of recording, too."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.reject("a", "no", value=1.0, threshold=2.0)
    with pytest.raises(xray.UsageError):
        step.reject("b", "no", value=1.0, threshold=2.0)
    xray.flush(10)
    assert decided(traced)["item"] == ["a"]


def test_first_decisions_of_many_threads_are_all_kept(traced: Received):
    """Threads that judge their first candidate at once share one record."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        start = threading.Barrier(8)

        def judge(number: int) -> None:
            start.wait()
            for at in range(200):
                step.reject(f"{number}-{at}", "no", value=1.0, threshold=0.5)

        threads = [threading.Thread(target=judge, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    xray.flush(10)
    assert set(decided(traced)["item"]) == {f"{n}-{at}" for n in range(8) for at in range(200)}


@pytest.mark.parametrize(
    ("passed", "verdicts"),
    [([True, False, True], "KEK"), ((False, False, False), "EEE"), ([True] * 3, "KKK")],
)
def test_booleans_as_verdicts(traced: Received, passed, verdicts):
    """What a filter found is taken as it is; one reason is that of the eliminated."""
    with xray.run("r"), xray.step("s", type="filter") as step:
        step.record(["a", "b", "c"], passed, "dear")
    xray.flush(10)
    found = decided(traced)
    reasons = [None if letter == "K" else 0 for letter in verdicts]
    assert (found["verdict"], found.get("reason", [None] * 3)) == (verdicts, reasons)
    histogram = traced.step("s").attributes.get("xray.reasons.counts", [])
    assert list(histogram) == ([verdicts.count("E")] if "E" in verdicts else [])


@dataclasses.dataclass
class Product:
    price: object
    shop: str


def column(method: str, values: list[object]) -> object:
    """As a column of pandas or polars: only the name of its method differs."""
    return type("Column", (), {method: lambda _self: values})()


class Frame:
    """As a frame: columns by name, none of them iterated row by row."""

    columns = ("price", "shop")
    shape = (4, 2)

    def __init__(self, method: str) -> None:
        self._method = method

    def __getitem__(self, name: str) -> object:
        values: dict[str, list[object]] = {
            "price": [1.0, None, float("nan"), 3],
            "shop": ["a", "b", "", "a"],
        }
        return column(self._method, values[name])

    def __len__(self) -> int:
        return 4


ROWS: list[tuple[object, str]] = [(1.0, "a"), (None, "b"), (float("nan"), ""), (3, "a")]


@pytest.mark.parametrize(
    "items",
    [
        [{"price": price, "shop": shop} for price, shop in ROWS],
        [Product(price, shop) for price, shop in ROWS],
        [
            *({"price": p, "shop": s} for p, s in ROWS[:2]),
            *(SimpleNamespace(price=p, shop=s) for p, s in ROWS[2:]),
        ],
        *(Frame(method) for method in ("tolist", "to_list")),
        pyarrow.table({"price": [1.0, None, math.nan, 3.0], "shop": ["a", "b", "", "a"]}),
    ],
    ids=["dicts", "dataclasses", "mixed", "pandas", "polars", "Arrow"],
)
def test_fields_of_items_of_any_kind(items):
    """Share missing, mean, deviation, median and items per source are the same, however the items come."""
    [price, shop, absent], sources = summarize_fields(items, ["price", "shop", "absent"], "shop")
    assert price == ("price", 0.5, 2.0, 1.0, 2.0)
    assert shop == ("shop", 0.25, None, None, None)
    assert absent[:3] == ("absent", 1.0, None)
    assert sources == {"a": 2, "b": 1}
