"""Nothing that is to be hidden leaves: on the wire, on disk, to the team's own exporters, in logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext

import xray_otel as xray
from tests.fixtures import secrets
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from tests.fixtures.public_calls import PLACES, Call, is_taken_apart, plant
from tests.fixtures.secrets import CALLED, CARD, CARD_PATTERN, KEYED, MATCHED, PATTERN, leaks
from xray_otel import _guard, _setup
from xray_otel._mask import FAILED, MASKED, Mask, key_words

PLANTED = secrets.planted()


class RawReceiver(HttpReceiver):
    """Keeps the bytes of the requests too."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def take(self, request: Any) -> Any:
        self.bodies.append(request.SerializeToString())
        return super().take(request)


class Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record).encode("utf-8", "replace"))


@pytest.fixture(scope="module")
def logged() -> Iterator[Logged]:
    """All that the client logs, none held back."""
    handler, patch = Logged(), pytest.MonkeyPatch()
    patch.setattr(_guard, "_LOG_INTERVAL_S", 0.0)
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    patch.undo()


@pytest.fixture(scope="module")
def receiver() -> Iterator[RawReceiver]:
    receiver = RawReceiver()
    yield receiver
    xray.shutdown(1)
    receiver.close()


MASKING: dict[str, Any] = {"mask_patterns": [PATTERN, CARD_PATTERN], "mask": secrets.callback}


def test_the_search_finds_secrets():
    """The search of these tests sees a secret whole, cut and compressed."""
    for secret in (MATCHED, KEYED[:6], str(CARD)):
        assert leaks([f"a{secret}b".encode()])
    assert leaks([secrets.packed(CALLED.encode())])
    assert not leaks([b"nothing"])


SEEDED = [
    (place, words, value) for place in PLACES for words, value in PLANTED if not is_taken_apart(place, words)
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chosen=st.lists(st.integers(0, len(SEEDED) - 1), min_size=16, max_size=40),
    broken=st.booleans(),
    capture=st.sampled_from(["full", "sampled", "metrics_only"]),
)
def test_no_secret_leaves(
    receiver: RawReceiver, logged: Logged, chosen: list[int], broken: bool, capture: Any
):
    """Any secret at any argument of any public call: not a fragment of it on the wire or in logs."""
    masking = MASKING | ({"mask": secrets.broken} if broken else {})
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, capture=capture, **masking)
    for at in chosen:
        place, _, value = SEEDED[at]
        plant(place, value)
    assert xray.flush(20)
    assert receiver.bodies
    found = leaks([*receiver.bodies, *logged.lines])
    receiver.bodies.clear()
    receiver.received.records.clear()
    logged.lines.clear()
    assert not found, [SEEDED[at][:2] for at in chosen]


@pytest.mark.parametrize("broken", [False, True])
def test_no_argument_lets_a_secret_out(receiver: RawReceiver, logged: Logged, broken: bool):
    """Every secret at every argument once: what is drawn above leaves half of them for another day."""
    masking = MASKING | ({"mask": secrets.broken} if broken else {})
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, buffer_bytes=2**28, **masking)
    for start in range(0, len(SEEDED), 40):
        some = SEEDED[start : start + 40]
        for place, _, value in some:
            plant(place, value)
        assert xray.flush(20)
        found = leaks([*receiver.bodies, *logged.lines])
        receiver.bodies.clear()
        receiver.received.records.clear()
        logged.lines.clear()
        assert not found, [place_and_words[:2] for place_and_words in some]


def test_no_secret_lies_on_the_disk(tmp_path: Path, unused_endpoint: str, logged: Logged):
    """What waits on disk for a server that is away is masked already."""
    xray.configure(
        endpoint=unused_endpoint, flush_interval_ms=20, exit_timeout_s=1, spool_dir=str(tmp_path), **MASKING
    )
    for place, _, value in SEEDED[:: len(PLANTED) // 2 - 1]:
        plant(place, value)
    xray.shutdown(2)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not leaks([*files, *logged.lines])


def team_span(provider: TracerProvider) -> None:
    """A span of the team's own with a secret wherever one can be."""
    secret = f"a {MATCHED} b"
    link = Link(SpanContext(1, 1, is_remote=True), {"note": secret, "password": KEYED})
    with provider.get_tracer(secret).start_as_current_span(f"name {MATCHED}", links=[link]) as span:
        span.set_attributes(
            {
                "xray.step.type": "llm",
                "xray.step.input": json.dumps({"password": KEYED, "title": secret, "n": CARD}),
                "xray.run.tag.api_key": KEYED,
                "db.password": [KEYED, KEYED],
                "note": [secret, CALLED],
                "card": CARD,
                "http.request.header.authorization": KEYED,
                f"key {MATCHED}": 1,
            }
        )
        span.add_event(f"event {MATCHED}", {"token": KEYED, "note": secret})
        raise RuntimeError(f"{MATCHED} {{'password': '{KEYED}'}}")


def failing_step() -> None:
    with xray.step("ours", input={"password": KEYED}) as step:
        step.why(f"for {MATCHED}")
        raise ValueError(MATCHED)


def test_spans_of_the_team(receiver: RawReceiver, logged: Logged):
    """The team's spans that X-Ray takes are masked, and so are X-Ray's own that others export."""
    provider = TracerProvider(resource=Resource({"process.command": f"run {MATCHED}", "db.password": KEYED}))
    exported = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, tracer_provider=provider, **MASKING)
    with xray.run("r"):
        with pytest.raises(RuntimeError):
            team_span(provider)
        with pytest.raises(ValueError, match="sk-live"):
            failing_step()
    with xray.run("r", tags={"password": KEYED, "b": MATCHED}), xray.step("ours", why=MATCHED) as step:
        step.accept(MATCHED, reason=CALLED)
        step.metric(MATCHED, 1)
    assert xray.flush(20)
    assert receiver.received.spans("step")
    assert not leaks([*receiver.bodies, *logged.lines])
    ours = [
        str((span.name, dict(span.attributes or {}), span.status.description, span.events)).encode()
        for span in exported.get_finished_spans()
        if span.instrumentation_scope is not None and span.instrumentation_scope.name == "xray_otel"
    ]
    assert len(ours) == 4
    assert not leaks(ours)


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("password", True),
        ("userPassword", True),
        ("X-API-Key", True),
        ("APIKey", True),
        ("apikeys", True),
        ("db.passwords", True),
        ("http.request.header.authorization", True),
        ("oauth2_token", True),
        ("max_tokens", False),
        ("gen_ai.usage.input_tokens", False),
        ("author", False),
        ("tokenizer", False),
        ("secretary", False),
        ("Ärger.password", True),
        ("tax_number", True),
        ("cookie", False),
    ],
)
def test_keys_are_matched_as_words(key: str, hidden: bool):
    """However a key is written, its words count; a setting adds words and takes some out."""
    assert Mask(key_words(["taxNumber", "!cookie"])).hides(key) is hidden


QUOTED = [
    f'{{"password"{blank}: "{KEYED}"}}' for blank in ("", "  ", "\t", "\n ", "\u00a0", "\x1f", "\u3000")
] + [
    f"{{'user_password' \n: '{KEYED}'",
    json.dumps({"a": f'{{"password"\n: "{KEYED}"}}'}),
    json.dumps([json.dumps({"a": f'{{"password"\t : "{KEYED}"}}'})]),
]


@pytest.mark.parametrize("text", QUOTED)
def test_keys_in_texts_of_decisions(receiver: RawReceiver, logged: Logged, text: str):
    """With the default settings nothing is done per decision, and yet no spelling of a key hides a secret."""
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20)
    receiver.bodies.clear()
    logged.lines.clear()
    with xray.run("r"), xray.step("s", why=text, input=text) as step:
        step.reject("i", "code", text)
        step.reject("i", "code", value=text, threshold=text)
        step.select(text, reason=text)
        step.record(["a"], "kept", ["code"], values=[text], texts=[text])
    with xray.run("r"), xray.step("s") as step:
        step.record([text], "kept")
    assert xray.flush(20)
    assert receiver.bodies
    assert not leaks([*receiver.bodies, *logged.lines])


def test_fields_of_a_hidden_name(receiver: RawReceiver):
    """Of one item the mean is the value, and a source is one: neither leaves under a hidden name."""
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20)
    receiver.received.records.clear()
    receiver.bodies.clear()
    with xray.run("r"), xray.step("s") as step:
        step.fields([{"ssn": 7319.0, "price": 2.0, "api_key": KEYED}], ["ssn", "price"], source="api_key")
    assert xray.flush(20)
    assert not leaks(receiver.bodies)
    attributes = receiver.received.step("s").attributes
    hidden, shown = attributes["xray.fields.mean"]
    assert hidden != hidden
    assert shown == 2.0
    assert attributes["xray.fields.missing"] == [0.0, 0.0]
    assert attributes["xray.sources.names"] == [MASKED]


def test_hashed_item_ids(receiver: RawReceiver):
    """An item has one name in all steps and runs, also as what another was merged into, and never its own."""
    received: Received = receiver.received
    names = set()
    for _ in range(2):
        received.records.clear()
        receiver.bodies.clear()
        xray.configure(
            endpoint=receiver.endpoint, flush_interval_ms=20, hash_item_ids=True, item_id_key="a key"
        )
        with xray.run("r"):
            with xray.step("s") as step:
                step.record([f"{MATCHED}-{n}" for n in range(3)], "kept")
                step.merge(f"{MATCHED}-4", into=f"{MATCHED}-0")
            with xray.step("pick", type="select") as step:
                step.select(f"{MATCHED}-0")
        assert xray.flush(20)
        assert not leaks(receiver.bodies)
        first, second = (
            json.loads(e.attributes["xray.decisions.data"]) for e in received.events("xray.step.decisions")
        )
        assert len(set(first["item"])) == 4
        assert second["item"] == [first["item"][0]] == [first["value"][3]]
        assert received.step("pick").attributes["xray.selected.id"] == first["item"][0]
        names.add(first["item"][0])
    assert len(names) == 1


def test_a_mask_that_cannot_be_made_lets_nothing_through(receiver: RawReceiver, logged: Logged):
    """A pattern that is none hides every text instead of none; strict refuses it."""
    with pytest.raises(xray.SettingsError, match="XRAY_MASK_PATTERNS"):
        xray.configure(endpoint=receiver.endpoint, mode="strict", mask_patterns=["sk-("])
    for masking, named in (
        ({"mask_patterns": ["sk-("]}, "XRAY_MASK_PATTERNS: a regular expression per line"),
        ({"mask": 7}, "mask: a function from text to text or None"),
        ({"mask_keys": ["_"]}, "XRAY_MASK_KEYS: words with a letter, separated by commas,"),
    ):
        receiver.bodies.clear()
        receiver.received.records.clear()
        logged.lines.clear()
        xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, schema="gone.yaml", **masking)
        said = f"xray_otel configure: {named} is accepted; every text is hidden until then"
        assert logged.lines[0] == said.encode()
        plant(("of step", Call("why", "text")), MATCHED)
        with xray.run("again") as run, xray.step("s", input={"a": MATCHED}) as step:
            step.accept(MATCHED)
        assert xray.flush(20)
        assert not leaks([*receiver.bodies, *logged.lines])
        assert {span.attributes["xray.run.id"] for span in receiver.received.spans("run")} >= {run.run_id}


def test_what_a_mask_makes_of_texts(receiver: RawReceiver):
    """A hidden value is marked, a text that the mask fails on is dropped and marked, the rest stays."""
    xray.configure(
        endpoint=receiver.endpoint, flush_interval_ms=20, mask=secrets.broken, mask_patterns=[PATTERN]
    )
    receiver.received.records.clear()
    with (
        xray.run("r", tags={"password": "x", "b": "c"}),
        xray.step("s", input={"token": [1], "b": CALLED}) as step,
    ):
        step.why(f"for {MATCHED}, at last")
        step.accept(
            "a", value="plain", threshold=7, checks=[{"name": "password", "value": "v", "passed": True}]
        )
    assert xray.flush(20)
    [run] = receiver.received.spans("run")
    assert (run.attributes["xray.run.tag.password"], run.attributes["xray.run.tag.b"]) == (MASKED, "c")
    attributes = receiver.received.step("s").attributes
    assert json.loads(attributes["xray.step.input"]) == {"token": MASKED, "b": FAILED}
    assert attributes["xray.step.why"] == "for ***, at last"
    [event] = receiver.received.events("xray.step.decisions")
    payload = json.loads(event.attributes["xray.decisions.data"])
    assert (payload["value"], payload["threshold"], payload["item"]) == ("plain", 7, ["a"])
    assert payload["checks"][0][0]["value"] == MASKED


@pytest.mark.parametrize("hidden", [f"order-{CARD}", str(CARD)])
def test_run_ids_that_are_hidden(receiver: RawReceiver, logged: Logged, hidden: str):
    """A run id that a pattern hides names no run: neither in events, nor in what is told of losses."""
    provider = TracerProvider()
    xray.configure(
        endpoint=receiver.endpoint,
        flush_interval_ms=20,
        tracer_provider=provider,
        mask_patterns=[r"4999\d{12}"],
        offline="drop",
    )
    xray.outcome(hidden, "refund", True)
    for joined in (xray.join_run(run_id=hidden), xray.join_run({"baggage": f"xray.run.id={hidden}"})):
        with joined, xray.step("s", type="filter") as step:
            step.accept("a")
    assert xray.flush(20)
    receiver.answer = lambda request: 400 if b"of the team" in request.SerializeToString() else None
    with provider.get_tracer("team").start_as_current_span("of the team") as span:
        span.set_attributes({"xray.step.type": "filter", "xray.run.id": hidden, "xray.step.id": hidden})
        span.set_attribute("xray.step.parents", [hidden])
    assert xray.flush(20)
    assert _setup.client().pipeline.losses == {("step", "refused"): 1}
    with xray.run("r") as run:  # with its success the loss is told
        pass
    receiver.received.wait(lambda received: bool(received.events("xray.losses")), 20)
    xray.outcome(run.run_id, "refund", True)
    assert xray.flush(20)
    assert [event.attributes["xray.run.id"] for event in receiver.received.events("xray.outcome")] == [
        run.run_id
    ]
    assert "xray.run.id" not in receiver.received.events("xray.losses")[0].attributes
    receiver.answer = lambda request: None
    found = leaks([*receiver.bodies, *logged.lines])
    receiver.bodies.clear()
    receiver.received.records.clear()
    assert not found


def test_settings_do_not_show_their_secrets():
    """Where a program prints its settings, the keys in them stay hidden."""
    shown = repr(xray.Settings(api_key=KEYED, item_id_key=MATCHED))
    assert not leaks([shown.encode()])


def test_a_run_keeps_the_uuid_that_it_was_given(receiver: RawReceiver):
    """Whatever digits in it a pattern would find: outcomes and other services know the run by it."""
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=20, mask_patterns=[r"\d{4}"])
    known = "01234567-89ab-7cde-8f01-234567890123"
    with xray.run("r", run_id=known) as run, xray.step("s", type="filter") as step:
        step.accept("a")
    xray.outcome(run.run_id, "refund", True)
    assert xray.flush(20)
    assert run.run_id == known
    ids = {event.attributes["xray.run.id"] for event in receiver.received.events("xray.outcome")}
    ids |= {span.attributes["xray.run.id"] for span in receiver.received.spans("run")}
    receiver.received.records.clear()
    receiver.bodies.clear()
    assert ids == {known}
