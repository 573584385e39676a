"""What breaks a schema is told, left out or cleaned before it is sent, as the setting says."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received, Record

STEPS: dict[str, dict[str, Any]] = {
    "price": {
        "type": "filter",
        "input": {"title": "string!", "brand": str},
        "reasoning": {"max_price": {"type": "number", "required": True}},
        "metrics": {"band": "number!"},
    },
    "*": {"metrics": {}},
}
SCHEMA = xray.Schema("shop", "3", steps=STEPS, step_types=["filter", "search"], output={"winner": "string"})


def broken_run(otlp: HttpReceiver, mode: Any) -> tuple[Received, Record, Record]:
    """A run of which nearly everything breaks the schema; what arrived, its run and its step ``price``."""
    xray.configure(endpoint=otlp.endpoint, schema=SCHEMA, schema_mode=mode, flush_interval_ms=20)
    with xray.run("r") as run:
        with xray.step("price", type="rank", input={"brand": 7, "colour": "red", "title": "case"}) as step:
            step.set_reasoning({"max_price": 50})
            step.metric("speed", 1)
        with xray.step("other", type="llm"):
            pass
        run.set_output([1])
    assert xray.flush(10)
    received = otlp.received
    [span] = received.spans("run")
    return received, span, received.step("price")


PROBLEMS = [
    "type: steps of type rank are not in the schema",
    "type: filter is expected, got rank",
    "input.brand: string is expected, got integer",
    "input.colour: is not in the schema",
    "metrics.speed: is not in the schema",
    "metrics.band: is required",
]


@pytest.mark.parametrize(
    ("mode", "sent", "speed"),
    [
        ("warn", {"brand": 7, "colour": "red", "title": "case"}, 1.0),
        ("reject", {"title": "case"}, None),
        ("sanitize", {"brand": None, "title": "case"}, None),
    ],
)
def test_each_mode(otlp_receiver: HttpReceiver, mode: str, sent: Any, speed: float | None):
    """All modes tell what is wrong; ``warn`` sends it, ``reject`` leaves it out, ``sanitize`` cleans it."""
    received, run, step = broken_run(otlp_receiver, mode)
    assert step.attributes["xray.schema.violations"] == PROBLEMS
    assert json.loads(step.attributes["xray.step.input"]) == sent
    assert json.loads(step.attributes["xray.step.reasoning"]) == {"max_price": 50}
    assert step.attributes.get("xray.metric.speed") == speed
    assert run.attributes["xray.schema.violations"] == ["output: an object is expected, got array"]
    assert (run.attributes["xray.schema.id"], run.attributes["xray.schema.version"]) == ("shop", "3")
    other = received.step("other")
    assert other.attributes["xray.schema.violations"] == ["type: steps of type llm are not in the schema"]


def test_a_schema_is_announced_once_and_before_its_first_run(otlp_receiver: HttpReceiver):
    """One event per process and version, however many runs follow it."""
    received, _, _ = broken_run(otlp_receiver, "warn")
    other = xray.Schema("shop", "4")
    for _ in range(2):
        with xray.run("again"), xray.step("price", type="filter"):
            pass
        with xray.run("other", schema=other), xray.step("anything", input={"any": "thing"}) as step:
            step.metric("any", 1)
    assert xray.flush(10)
    first, second = received.events("xray.schema")
    assert (first.attributes["xray.schema.version"], second.attributes["xray.schema.version"]) == ("3", "4")
    document = json.loads(first.attributes["xray.schema.document"])
    assert document["steps"]["price"]["input"] == {
        "brand": {"required": False, "type": "string"},
        "title": {"required": True, "type": "string"},
    }
    events = [record.name for record in received.records if record.event]
    assert events.index("xray.schema") < events.index("xray.run.start")
    steps = [span for span in received.spans("step") if span.name == "anything"]
    assert [span.attributes.get("xray.schema.violations") for span in steps] == [None, None]


def test_what_is_required_and_never_said(otlp_receiver: HttpReceiver):
    """A step that ends without a required payload, key or metric breaks the schema."""
    xray.configure(endpoint=otlp_receiver.endpoint, schema=SCHEMA, flush_interval_ms=20)
    with xray.run("r"), xray.step("price", type="filter", input={"title": None}):
        pass
    assert xray.flush(10)
    assert otlp_receiver.received.step("price").attributes["xray.schema.violations"] == [
        "input.title: is required",
        "reasoning: is required",
        "metrics.band: is required",
    ]


def test_strict_mode_raises_what_reject_leaves_out(otlp_receiver: HttpReceiver):
    """In mode strict with ``reject`` the call raises UsageError; ``warn`` never does."""
    for mode in ("warn", "reject"):
        xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", schema=SCHEMA, schema_mode=mode)
        with xray.run("r"), xray.step("price", type="filter") as step:
            if mode == "warn":
                step.set_input({"colour": "red"})
            else:
                with pytest.raises(xray.UsageError, match=r"input\.colour: is not in the schema"):
                    step.set_input({"colour": "red"})
                with pytest.raises(xray.UsageError, match=r"metrics\.speed"):
                    step.metric("speed", 1)


SENSELESS: list[Any] = [
    {"id": "a b", "version": "1"},
    {"id": "a", "version": None},
    {"id": "a", "version": "1", "stps": {}},
    {"id": "a", "version": "1", "steps": {"s": {"input": {"title": "text"}}}},
    {"id": "a", "version": "1", "steps": {"s": {"type": "sieve"}}},
    {"id": "a", "version": "1", "steps": {"s": {"inputs": {}}}},
    {"id": "a", "version": "1", "steps": ["s"]},
    {"id": "a", "version": "1", "steps": {str(n) * 99: {"input": {"k": "any"}} for n in range(999)}},
    7,
]


@pytest.mark.parametrize("schema", SENSELESS, ids=range(len(SENSELESS)))
def test_a_schema_that_makes_no_sense(otlp_receiver: HttpReceiver, schema: Any):
    """In strict mode it raises where it is given; else it is logged and the run goes without."""
    with pytest.raises(xray.UsageError):
        xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", schema=schema)
    xray.configure(endpoint=otlp_receiver.endpoint, schema=schema, flush_interval_ms=20)
    with xray.run("r", schema=schema), xray.step("s", input={"a": 1}):
        pass
    assert xray.flush(10)
    assert otlp_receiver.received.events("xray.schema") == []
    assert "xray.schema.id" not in otlp_receiver.received.spans("run")[0].attributes


def test_a_schema_in_a_file(
    otlp_receiver: HttpReceiver,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """JSON always; YAML where PyYAML is installed, and a plain word about it where it is not."""
    path = tmp_path / "shop.json"
    path.write_text(json.dumps({"id": "shop", "version": "5", "steps": {"s": {"input": {"a": "string"}}}}))
    monkeypatch.setenv("XRAY_SCHEMA", str(path))
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=20)
    with xray.run("r"), xray.step("s", input={"a": 1}):
        pass
    assert xray.flush(10)
    told = otlp_receiver.received.step("s").attributes["xray.schema.violations"]
    assert told == ["input.a: string is expected, got integer"]
    yaml = tmp_path / "shop.yaml"
    yaml.write_text("id: shop\nversion: '6'\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with caplog.at_level(logging.WARNING, "xray_otel"):
        xray.configure(endpoint=otlp_receiver.endpoint, schema=str(yaml))
    assert "PyYAML" in caplog.text
    with pytest.raises(xray.UsageError, match="cannot be read: FileNotFoundError"):
        xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", schema=str(tmp_path / "none.json"))


def test_a_schema_in_yaml(otlp_receiver: HttpReceiver, tmp_path: Any):
    """The same schema in YAML."""
    pytest.importorskip("yaml")
    path = tmp_path / "shop.yaml"
    path.write_text("id: shop\nversion: '7'\nsteps:\n  s:\n    input:\n      a: string!\n")
    xray.configure(endpoint=otlp_receiver.endpoint, mode="strict", schema=str(path))
    with xray.run("r"), xray.step("s", input={}):
        pass
    assert xray.flush(10)
    told = otlp_receiver.received.step("s").attributes["xray.schema.violations"]
    assert told == ["input.a: is required"]
