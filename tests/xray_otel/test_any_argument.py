"""Whatever is given for whatever parameter of the public calls: nothing raises, nothing is lost."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xray_otel as xray
from tests.fixtures.odd_values import anything, real
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from tests.fixtures.public_calls import PLACES, plant
from xray_otel import _recording, _setup, _statistics
from xray_otel._encode import json_text, text_of
from xray_otel._figures import number
from xray_otel._item_ids import item_id

CONFIGURABLE = sorted(set(inspect.signature(xray.configure).parameters) - {"endpoint", "mode", "disabled"})
SCHEMA = xray.Schema(
    "s",
    "1",
    steps={"s": {"input": {"a": "string!"}, "output": {}, "reasoning": {}, "metrics": {}}},
    input={},
    output={"x": "number!"},
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[HttpReceiver]:
    patch = pytest.MonkeyPatch()
    # Of the odd values some are endless: two million items take seconds each time, on a busy machine minutes.
    patch.setattr(_recording, "_MAX_ITEMS", 2_000)
    patch.setattr(_statistics, "MAX_ITEMS", 2_000)
    receiver = HttpReceiver()
    yield receiver
    xray.shutdown(1)
    receiver.close()
    patch.undo()


def check_arrived(received: Received, steps: int) -> None:
    """All steps came in requests that decode; what is too large for an artifact alone is lost."""
    assert xray.flush(20)
    assert len(received.spans("step")) == steps
    assert set(_setup.client().pipeline.losses) <= {("artifact", "too_large")}
    received.records.clear()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chosen=st.lists(
        st.tuples(st.integers(0, len(PLACES) - 1), anything), min_size=8, max_size=16, unique_by=repr
    ),
    options=st.fixed_dictionaries(
        {"capture": st.sampled_from(["full", "sampled", "metrics_only"])},
        optional={
            "mask_patterns": st.just(["a"]),
            "hash_item_ids": st.just(True),
            "schema": st.just(SCHEMA),
            "schema_mode": st.sampled_from(["warn", "reject", "sanitize"]),
        },
    ),
)
def test_no_argument_raises(receiver: HttpReceiver, chosen: list[Any], options: dict[str, Any]):
    """Any value for any parameter of run, step and their methods loses itself at most."""
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, buffer_bytes=2**28, **options)
    for place, value in chosen:
        plant(PLACES[place], real(value))
    check_arrived(receiver.received, len(chosen))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(CONFIGURABLE), value=anything)
def test_no_setting_raises(receiver: HttpReceiver, tmp_path_factory: Any, name: str, value: Any):
    """Any value for any setting, and for a schema's own parts: the client works all the same."""
    folder = str(tmp_path_factory.getbasetemp() / "spool")
    odd = {"spool_dir": folder} | {name: real(value)}
    if name == "protocol" and type(value) is str and value == "grpc":
        return
    xray.configure(endpoint=receiver.endpoint, **odd)
    schema = xray.Schema(real(value), real(value), steps={"s": {name: real(value)}})
    with xray.run("r", schema=schema), xray.step("s") as step:
        step.accept("a")
    if (number(real(value)) or 0.0) > 20:
        # Asked for with a day, a flush that never ends would be a test that never ends.
        assert xray.flush(20)
    else:
        xray.flush(real(value))
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20)
    plant(("step", "why"), "again")
    assert xray.flush(20)
    receiver.received.records.clear()


@dataclasses.dataclass
class Scorer:
    """A value that has parts and can be called."""

    limit: int = 3
    password: str = "hunter2"

    def __call__(self) -> None: ...


class Frame:
    """As the class of a frame, which has all that its values have."""

    shape = (1, 1)
    columns = ("a",)

    def __getitem__(self, name: str) -> Any: ...


@dataclasses.dataclass(slots=True)
class Layout:
    """Like a frame or an array in its names alone."""

    shape: tuple[int, int] = (1, 2)
    columns: tuple[str, ...] = ("a",)
    dtype: str = "float32"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Scorer(), '{"limit":3,"password":"***"}'),
        (Layout(), '{"shape":[1,2],"columns":["a"],"dtype":"float32"}'),
        (Frame, str(Frame)),
    ],
)
def test_values_that_look_like_others(value: Any, text: str):
    """What can be called, what a class has and what fields are called lead nowhere."""
    assert text_of(value, 512) == text
    assert json_text(value) == (text if text.startswith("{") else json.dumps(text))


class Stub:
    """Has whatever it is asked for, as stand-ins in the tests of host programs do."""

    id = "a"

    def __getattr__(self, name: str) -> Stub:
        return Stub()

    def __call__(self) -> Stub:
        return self


def test_what_has_everything_is_no_frame():
    """Its id is what it says, its text its own."""
    stub = Stub()
    assert item_id(stub) == "a"
    assert text_of(stub, 512) == str(stub)
    assert json_text([stub]) == json.dumps([str(stub)])
