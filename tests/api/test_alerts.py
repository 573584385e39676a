"""Alert rules: that each comparison counts, and that what is told is told once, signed, to whom it may."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from api.alerts import asking
from api.alerts.addresses import AddressProblem, check_url, is_public, origin, resolved
from api.alerts.asking import ask
from api.alerts.declared import RuleProblem, rule, taken_apart
from api.alerts.states import Standing, advance
from api.alerts.telling import send, signature
from api.alerts.upkeep import deliver_due, evaluate_due, pause
from api.app import create_app
from api.routes.alerts import MAX_EVALUATIONS, storing
from api.settings import ApiSettings
from store.alerts import AlertShelf
from store.contract_shelf import ContractResult, ContractShelf, due, note
from store.database import libpq_url
from store.reader import Reader
from store.settings import load
from tests.fixtures.reading import (
    START,
    Clock,
    RestServer,
    Shelf,
    ns,
    run_copy,
    run_start,
    seconds,
    step_copy,
)
from tests.fixtures.webhooks import Receiver, receiving

SECRET = "not-to-be-seen-anywhere"
NOW = START + timedelta(minutes=10)
LASTING = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("state", "age_s", "holds", "expected", "change"),
    [
        (None, 0, True, "pending", None),
        (None, 0, False, "ok", None),
        (None, 0, None, "ok", None),
        ("ok", 999, True, "pending", None),
        ("pending", 299, True, "pending", None),
        ("pending", 300, True, "firing", "firing"),
        ("pending", 300, False, "ok", None),
        ("pending", 300, None, "ok", None),
        ("firing", 0, True, "firing", None),
        ("firing", 0, None, "firing", None),
        ("firing", 0, False, "resolved", "resolved"),
        ("resolved", 999, True, "pending", None),
        ("resolved", 0, False, "resolved", None),
        ("resolved", 0, None, "resolved", None),
    ],
)
def test_states(state: Any, age_s: int, holds: bool | None, expected: str, change: str | None):
    """It fires after it was true for as long as asked, and what cannot be told changes nothing that fires."""
    known = None if state is None else Standing(state, NOW - timedelta(seconds=age_s))
    after, told = advance(known, holds, NOW, LASTING)
    assert (after.state, told) == (expected, change)


def test_without_a_time_to_last_it_fires_at_once():
    """Pending for no time at all is firing; the moment names the events of both changes."""
    fired, told = advance(None, True, NOW, timedelta(0))
    assert (fired, told) == (Standing("firing", NOW, NOW), "firing")
    ended, told = advance(fired, False, NOW + LASTING, timedelta(0))
    assert (ended, told) == (Standing("resolved", NOW + LASTING, NOW), "resolved")


Found = list[tuple[dict[str, Any], Any, bool | None]]


def readings(reader: Reader, at: datetime = NOW, **document: Any) -> Found:
    """Return (group, value, holds) of a rule."""
    declared = rule({"window": "1h", **document}, "r")
    found = ask(reader, lambda *_: None, declared, at)
    return [(dict(each.group), each.value, each.holds) for each in found]


@pytest.mark.parametrize(
    ("limit", "fires"),
    [
        ({"above": 99.9}, True),
        ({"above": 100.0}, False),
        ({"at_least": 100.0}, True),
        ({"at_least": 100.1}, False),
        ({"below": 100.1}, True),
        ({"below": 100.0}, False),
        ({"at_most": 100.0}, True),
        ({"at_most": 99.9}, False),
    ],
)
def test_a_rule_on_steps(shelf: Shelf, reader: Reader, limit: dict[str, float], fires: bool):
    """The median of 50, 100 and 150 ms is 100 ms; only what started in the window before counts."""
    for at, took_ms in enumerate((50, 100, 150)):
        shelf.put(step_copy(f"r{at}", "rank", at, end_ns=ns(seconds(at)) + took_ms * 1_000_000))
    asked: dict[str, Any] = {"steps": {"figure": "duration_ms.p50", "where": 'name = "rank"'}, **limit}
    assert readings(reader, **asked) == [({}, 100.0, fires)]
    assert readings(reader, **asked, min_n=3) == [({}, 100.0, fires)]
    assert readings(reader, **asked, min_n=4) == [({}, 100.0, None)]
    assert [each[2] for each in readings(reader, at=NOW + timedelta(hours=2), **asked)] in ([], [None])


def test_groups_and_counts(shelf: Shelf, reader: Reader):
    """Each group has a figure of its own; errors are counted and shared."""
    for at, (name, status) in enumerate([("a", "ok"), ("a", "error"), ("b", "ok"), ("b", "ok")]):
        shelf.put(step_copy(f"r{at}", name, at, status=status))
    by_name = {"group_by": ["name"], "figure": "error_share"}
    a, b = {"name": "a"}, {"name": "b"}
    assert readings(reader, steps=by_name, above=0.4) == [(a, 0.5, True), (b, 0.0, False)]
    count = {"group_by": ["name"], "figure": "errors"}
    assert readings(reader, steps=count, at_least=1) == [(a, 1.0, True), (b, 0.0, False)]


@pytest.mark.parametrize(("dear", "fires"), [(20, False), (21, True)])
def test_a_rule_on_a_reason(shelf: Shelf, reader: Reader, dear: int, fires: bool):
    """20 of 100 reasons are no more than 20 %; a reason that was not given has 0."""
    shelf.put(step_copy("r1", "f", 0, reason_codes=("dear", "old"), reason_counts=(dear, 100 - dear)))
    assert readings(reader, reason={"reason": "dear"}, above=0.2) == [({}, dear / 100, fires)]
    assert readings(reader, reason={"reason": "dear", "figure": "count"}, above=20) == [
        ({}, float(dear), fires)
    ]
    assert readings(reader, reason={"reason": "new"}, above=0) == [({}, 0.0, False)]


@pytest.mark.parametrize(("bad", "fires"), [(2, False), (3, True)])
def test_a_rule_on_runs(shelf: Shelf, reader: Reader, bad: int, fires: bool):
    """The number of runs that satisfy an expression, or their share of others."""
    for at in range(10):
        shelf.put(run_copy(f"r{at}", at, pipeline="p", outcome="no_match" if at < bad else "matched"))
    where = 'outcome = "no_match"'
    assert readings(reader, runs={"where": where}, above=2) == [({}, float(bad), fires)]
    share = {"where": where, "figure": "share", "among": 'pipeline = "p"'}
    assert readings(reader, runs=share, above=0.2) == [({}, bad / 10, fires)]
    nobody = {"where": where, "figure": "share", "among": 'pipeline = "q"'}
    assert readings(reader, runs=nobody, above=0.2) == [({}, None, None)]
    assert readings(reader, runs={"where": 'pipeline = "q"'}, below=1) == [({}, 0.0, True)]


def test_runs_that_cannot_be_told_neither_fire_nor_resolve(shelf: Shelf, reader: Reader, clock: Clock):
    """A run that went silent counts on neither side: where it would decide, nothing can be told."""
    for at, outcome in enumerate(("no_match", "matched", "matched")):
        shelf.put(run_copy(f"r{at}", at, pipeline="p", outcome=outcome))
    shelf.put(run_start("silent", 3, timeout_s=10.0))
    clock.now = NOW
    where = {"where": 'outcome = "no_match"'}
    assert readings(reader, runs=where, at_least=1) == [({}, 1.0, True)]
    assert readings(reader, runs=where, above=1) == [({}, 1.0, None)]
    assert readings(reader, runs=where, above=2) == [({}, 1.0, False)]
    share = where | {"figure": "share"}
    assert readings(reader, runs=share, at_least=0.25) == [({}, 0.25, True)]
    assert readings(reader, runs=share, above=0.25) == [({}, 0.25, None)]
    assert readings(reader, runs=share, above=0.5) == [({}, 0.25, False)]


@pytest.mark.parametrize("kind", ["steps", "reason"])
def test_groups_are_bounded(shelf: Shelf, reader: Reader, monkeypatch: pytest.MonkeyPatch, kind: str):
    """Page by page up to the bound, and not one more."""
    for at in range(4):
        shelf.put(step_copy("r", f"s{at}", at, name=f"s{at}", reason_codes=("dear",), reason_counts=(1,)))
    monkeypatch.setattr(asking, "_PAGE", 1)
    question: dict[str, Any] = {
        "steps": {"figure": "steps"},
        "reason": {"reason": "dear", "figure": "count"},
    }[kind]
    asked: dict[str, Any] = {kind: question | {"group_by": ["name"]}, "at_least": 1}
    assert len(readings(reader, **asked)) == 4
    monkeypatch.setattr(asking, "MAX_GROUPS", 2)
    assert len(readings(reader, **asked)) == 2


class _Checked:
    """Knows one state of every contract."""

    def __init__(self, state: str | None) -> None:
        self._state = state

    def __call__(self, contract_id: str, at: datetime) -> str | None:
        assert (contract_id, at) == ("c", NOW)
        return self._state


def test_a_rule_on_a_contract(shelf: Shelf, reader: Reader):
    """Violated fires, held does not, and what is unknown or not checked cannot be told."""
    declared = rule({"contract": {"id": "c"}}, "r")
    assert declared.limit == ("at_least", 1.0)
    expected = {"violated": True, "held": False, "unknown": None, None: None}
    for state, holds in expected.items():
        assert ask(reader, _Checked(state), declared, NOW)[0].holds is holds


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": None}, "one of steps, reason, runs, contract is needed"),
        ({"above": None}, "one of at_most, below, at_least, above is needed"),
        ({"below": 3}, "one of at_most, below, at_least, above is needed, and only one"),
        ({"steps": {"figure": "speed"}}, "steps.figure: Input should be"),
        ({"steps": {"figure": "errors", "where": "speed > 1"}}, "steps.where: "),
        (
            {"steps": {"figure": "errors", "group_by": ["colour"]}},
            "steps.group_by.0: Input should be 'pipeline'",
        ),
        ({"steps": None, "runs": {"where": "speed > 1"}}, "runs.where: q, column 1: speed"),
        (
            {"steps": None, "runs": {"where": "duration_ms > 1", "among": "speed > 1"}},
            "runs.among: q, column 1: speed",
        ),
        ({"steps": None, "reason": {"reason": "dear", "where": "speed > 1"}}, "reason.where: "),
        ({"steps": None, "contract": {"id": "c"}}, "above is not asked: a contract is violated or it is not"),
        ({"for": "soon"}, "for: must be a length of time"),
        ({"webhooks": []}, "webhooks: "),
        ({"webhooks": ["ftp://hooks.example/x"]}, "webhooks.0: must be a URL like https://host/path"),
        ({"webhooks": ["https://hooks.example:99999/x"]}, "webhooks.0: must be a URL like https://host/path"),
        ({"webhooks": ["https://hooks.example/x#y"]}, "webhooks.0: must not hold a fragment"),
        ({"webhooks": ["http://user:pw@hooks.example/x"]}, "webhooks.0: must not hold a user"),
        ({"webhooks": ["http://127.0.0.1/x"]}, "webhooks.0: is no public address"),
        ({"webhooks": ["http://[::ffff:10.0.0.1]/x"]}, "webhooks.0: is no public address"),
        ({"secret": "short"}, "secret: "),
        ({"colour": "red"}, "colour: is no key of this"),
        ({"id": "other"}, "id: the rule says another id"),
    ],
)
def test_what_is_no_rule_is_pointed_at(changes: dict[str, Any], problem: str):
    """The message names the place and what is accepted there, and no secret."""
    document = {
        "steps": {"figure": "errors"},
        "above": 1,
        "webhooks": ["https://hooks.example/t0ken"],
    } | changes
    document = {name: value for name, value in document.items() if value is not None}
    with pytest.raises(RuleProblem, match="must be a JSON object"):
        taken_apart([document], "r", allow_private=False)
    with pytest.raises(RuleProblem) as refusal:
        taken_apart(document, "r", allow_private=False)
    assert problem in str(refusal.value)
    assert "short" not in str(refusal.value)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::7f00:1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:7f00:1", False),
        ("fec0::1", False),
    ],
)
def test_addresses(address: str, public: bool):
    """Private, loopback, link-local and shared ones are not public, however they are written."""
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_name_is_looked_up_before_it_is_sent_to():
    """A name of this machine is refused as its address is; allowed, the connection goes to the address."""
    check_url("http://localhost:8080/hook", allow_private=False)
    with pytest.raises(AddressProblem, match="no public address"):
        resolved("http://localhost:8080/hook", allow_private=False)
    target = resolved("http://localhost:8080/hook?a=b", allow_private=True)
    assert target.host == "localhost:8080"
    assert target.url in ("http://127.0.0.1:8080/hook?a=b", "http://[::1]:8080/hook?a=b")
    assert origin("https://hooks.example/t0ken?a=b") == "https://hooks.example/***"


class Desk:
    """Rules by REST, and the two tasks by a clock of the test's."""

    def __init__(self, client: httpx.Client, url: str, connection: psycopg.Connection[Any]) -> None:
        self.client = client
        self._connection = connection
        self._open = partial(Reader.open, url)
        self.at = datetime.now(UTC) + timedelta(seconds=1)

    def put(self, rule_id: str, **document: Any) -> dict[str, Any]:
        """Store a rule that fires while a run of the pipeline p is there."""
        asked = {"runs": {"where": 'pipeline = "p"'}, "at_least": 1, "window": "100000d", "every": "1m"}
        answer = self.client.put(f"/alerts/{rule_id}", json=asked | document)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def evaluate(self, after_s: float = 61.0) -> None:
        """Let time pass and evaluate what is due."""
        self.at += timedelta(seconds=after_s)
        evaluate_due(self._connection, self._open, self._now)

    def deliver(self, after_s: float = 0.0, **options: Any) -> None:
        """Let time pass and send what is due."""
        self.at += timedelta(seconds=after_s)
        deliver_due(self._connection, now=self._now, **{"allow_private": True, **options})

    def states(self, rule_id: str) -> list[str]:
        """Where the groups of a rule stand."""
        return [group["state"] for group in self.client.get(f"/alerts/{rule_id}").json()["groups"]]

    def _now(self) -> datetime:
        return self.at


@pytest.fixture
def desk(database_url: str, reader: Reader) -> Iterator[Desk]:
    """The API with its alert rules, on the test's database."""
    routes = storing(AlertShelf(database_url), allow_private=True)
    server = RestServer(create_app(load(ApiSettings, {}), reader, routers=[routes]))
    with (
        httpx.Client(base_url=f"{server.url}/api/v1", timeout=30.0, trust_env=False) as client,
        psycopg.connect(libpq_url(database_url), autocommit=True) as connection,
    ):
        yield Desk(client, database_url, connection)
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with receiving() as found:
        yield found


def test_a_change_is_told_once_and_signed(shelf: Shelf, desk: Desk, receiver: Receiver):
    """Fires after its time, is told once however often it is looked at, and is told as resolved."""
    desk.put("busy", webhooks=[f"{receiver.url}/hook"], secret=SECRET, **{"for": "2m"})
    desk.evaluate()
    assert desk.states("busy") == ["ok"]
    shelf.put(run_copy("r1", pipeline="p"))
    for expected in ("pending", "pending", "firing", "firing"):
        desk.evaluate()
        desk.deliver()
        assert desk.states("busy") == [expected]
    desk.put("busy", webhooks=[f"{receiver.url}/hook"], **{"for": "2m"})
    desk.evaluate()
    desk.deliver()
    (request,) = receiver.requests
    told = request.event
    assert (told["type"], told["rule_id"], told["group"], told["value"], told["test"]) == (
        "firing",
        "busy",
        {},
        1.0,
        False,
    )
    assert request.headers["X-XRay-Event-Id"] == told["event_id"]
    timestamp = request.headers["X-XRay-Timestamp"]
    signed = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + request.body, "sha256").hexdigest()
    assert request.headers["X-XRay-Signature"] == f"v1={signed}"
    assert signature("another secret", timestamp, request.body) != f"v1={signed}"
    desk.put("busy", webhooks=[f"{receiver.url}/hook"], runs={"where": 'pipeline = "q"'})
    desk.evaluate()
    desk.deliver()
    assert [kind for kind, _ in receiver.events()] == ["firing", "resolved"]
    assert receiver.requests[-1].event["because"] == "the rule was replaced"
    assert receiver.requests[-1].event["alert_id"] == told["alert_id"]


def test_what_ends_is_told(shelf: Shelf, desk: Desk, receiver: Receiver):
    """A window that passes resolves, and so does deleting the rule; then it is forgotten."""
    desk.put("ends", webhooks=[receiver.url], window="100000d")
    shelf.put(run_copy("r1", pipeline="p"))
    desk.evaluate()
    assert desk.states("ends") == ["firing"]
    next_at = desk.client.get("/alerts/ends").json()["next_evaluation_at"]
    assert datetime.fromisoformat(next_at) == desk.at + timedelta(minutes=1)
    shelf.put(run_copy("r2", pipeline="p", status="crashed"))
    assert desk.client.delete("/alerts/ends").status_code == 204
    assert desk.client.delete("/alerts/ends").status_code == 404
    assert desk.client.get("/alerts/ends").status_code == 404
    desk.deliver()
    assert [kind for kind, _ in receiver.events()] == ["firing", "resolved"]
    assert receiver.requests[-1].event["because"] == "the rule was deleted"


def test_a_receiver_that_fails_is_tried_again(shelf: Shelf, desk: Desk, receiver: Receiver):
    """With growing pauses, under one id, in order; after the deadline it is given up, and that is shown."""
    desk.put("retry", webhooks=[f"{receiver.url}/t0ken"])
    shelf.put(run_copy("r1", pipeline="p"))
    receiver.answer = lambda: 503
    desk.evaluate()
    desk.deliver()
    desk.deliver()
    assert len(receiver.requests) == 1, "not before its time"
    (event,) = desk.client.get("/alerts/retry").json()["events"]
    assert (event["state"], event["attempts"], event["last_answer"]) == ("waiting", 1, "HTTP 503")
    desk.client.delete("/alerts/retry")
    receiver.answer = lambda: 302
    desk.deliver(5.0)
    receiver.answer = lambda: 200
    desk.deliver(10.0)
    assert [r.event["type"] for r in receiver.requests] == ["firing", "firing", "firing", "resolved"]
    assert len({event_id for _, event_id in receiver.events()}) == 2
    desk.put("late", webhooks=[f"{receiver.url}/t0ken"])
    receiver.answer = lambda: 500
    desk.evaluate()
    desk.deliver(deadline=timedelta(seconds=4))
    (event,) = desk.client.get("/alerts/late").json()["events"]
    assert (event["state"], event["next_try_at"]) == ("given_up", None)
    assert [pause(n).total_seconds() for n in (0, 1, 2, 7, 8, 99)] == [5, 10, 20, 640, 900, 900]


def test_one_receiver_does_not_hold_up_another(shelf: Shelf, desk: Desk, receiver: Receiver):
    """Of two webhooks each gets the event; what one refuses the other still gets, once."""
    with receiving() as other:
        other.answer = lambda: 500
        desk.put("two", webhooks=[other.url, receiver.url])
        shelf.put(run_copy("r1", pipeline="p"))
        desk.evaluate()
        desk.deliver()
        desk.deliver(5.0)
        assert (len(other.requests), len(receiver.requests)) == (2, 1)
        assert other.events() == receiver.events()


def test_private_addresses_are_not_sent_to_unless_allowed(shelf: Shelf, desk: Desk, receiver: Receiver):
    """What was stored while they were allowed is checked again when it is sent."""
    desk.put("private", webhooks=[receiver.url])
    shelf.put(run_copy("r1", pipeline="p"))
    desk.evaluate()
    desk.deliver(allow_private=False)
    assert receiver.requests == []
    (event,) = desk.client.get("/alerts/private").json()["events"]
    assert "no public address" in event["last_answer"]
    desk.deliver(5.0)
    assert len(receiver.requests) == 1


def test_secrets_are_in_no_answer(shelf: Shelf, desk: Desk, receiver: Receiver):
    """Neither the secret nor the path of a webhook; a secret that the server made is shown once."""
    url = f"{receiver.url}/t0ken?key=t0ken"
    stored = desk.put("quiet", webhooks=[url], secret=SECRET)
    assert stored["secret"] is None
    made = desk.put("made", webhooks=[url])["secret"]
    assert len(made) >= 32
    assert desk.put("made", webhooks=[url])["secret"] is None
    shelf.put(run_copy("r1", pipeline="p"))
    desk.evaluate()
    desk.deliver()
    answers = [
        desk.client.get("/alerts").text,
        desk.client.get("/alerts/quiet").text,
        desk.client.get("/alerts/made").text,
        desk.client.post("/alerts/quiet/test").text,
        desk.client.put("/alerts/quiet", json={"webhooks": [url], "secret": SECRET, "above": "x"}).text,
        desk.client.put("/alerts/quiet", json={"webhooks": [url + " "], "secret": SECRET}).text,
    ]
    for answer in answers:
        assert SECRET not in answer
        assert "t0ken" not in answer
        assert made not in answer


def test_a_sample_is_marked_and_sent_at_once(desk: Desk, receiver: Receiver):
    """It changes no state, and what the receiver answers is said."""
    desk.put("sample", webhooks=[receiver.url], secret=SECRET)
    answer = desk.client.post("/alerts/sample/test").json()
    (item,) = answer["items"]
    assert (item["accepted"], item["answer"]) == (True, "HTTP 204")
    (request,) = receiver.requests
    assert (request.event["type"], request.event["test"]) == ("test", True)
    receiver.answer = lambda: 404
    assert desk.client.post("/alerts/sample/test").json()["items"][0]["accepted"] is False
    away = send("http://127.0.0.1:9/", SECRET, "e", "{}", allow_private=True, at=NOW)
    assert (away.accepted, away.said) == (False, "ConnectError")


def test_a_dry_run_says_what_it_would_have_told(shelf: Shelf, desk: Desk, receiver: Receiver):
    """By what is stored: it would have fired while the run was in the window, and ended behind it."""
    desk.put("dry", webhooks=[receiver.url], window="10m", every="5m")
    shelf.put(run_copy("r1", 0, pipeline="p"))
    span = {"started_after": "2025-03-01T11:55:00Z", "started_before": "2025-03-01T12:30:00Z"}
    answer = desk.client.post("/alerts/dry/dry-run", json=span).json()
    assert [(told["type"], told["at"]) for told in answer["items"]] == [
        ("firing", "2025-03-01T12:05:00Z"),
        ("resolved", "2025-03-01T12:15:00Z"),
    ]
    assert answer["evaluations"] == 8
    long = {"started_after": "2025-02-01T00:00:00Z", "started_before": "2025-03-01T00:00:00Z"}
    assert desk.client.post("/alerts/dry/dry-run", json=long).json()["evaluations"] == MAX_EVALUATIONS
    assert receiver.requests == []
    assert desk.client.post("/alerts/dry/dry-run", json={}).status_code == 422
    turned = {"started_after": span["started_before"], "started_before": span["started_after"]}
    assert desk.client.post("/alerts/dry/dry-run", json=turned).status_code == 422
    assert desk.client.put("/alerts/dry", json={"webhooks": [receiver.url]}).status_code == 422
    assert desk.client.post("/alerts/nobody/dry-run", json=span).status_code == 404


def test_a_stored_contract_can_alert(desk: Desk, receiver: Receiver, database_url: str):
    """What the last check of a contract found is what the rule goes by."""
    ContractShelf(database_url).put("c", {"figure": {"of": "duration_ms.p50", "below": 1}})
    asked = {"contract": {"id": "c"}, "every": "1m", "webhooks": [receiver.url]}
    assert desk.client.put("/alerts/on-contract", json=asked).status_code == 201

    def find(state: str) -> None:
        with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
            (contract,) = due(connection, desk.at)
            note(connection, contract, ContractResult(desk.at, state, {}), desk.at)

    for state, expected in (
        ("held", "ok"),
        ("violated", "firing"),
        ("unknown", "firing"),
        ("held", "resolved"),
    ):
        desk.at += timedelta(seconds=1)
        find(state)
        desk.evaluate()
        assert desk.states("on-contract") == [expected]
