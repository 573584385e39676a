"""``xray contracts`` and ``xray alerts`` against a running server that looks after them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import httpx
import psycopg
import pytest

from api.alerts.upkeep import evaluate_due
from api.app import create_app
from api.contracts.continuous import check_due
from api.routes import alerts, contracts
from api.settings import ApiSettings
from cli.main import main
from store.alerts import AlertShelf
from store.contract_shelf import ContractShelf
from store.reader import Reader
from store.settings import load
from tests.fixtures import command, otlp
from tests.fixtures.reading import RestServer
from tests.fixtures.services import ServiceProcess, service_starter
from tests.fixtures.waiting import wait_until
from tests.fixtures.webhooks import receiving

NEVER = "share_of_runs: {where: 'step.drop_ratio > 0.9', at_most: 0}"
SOME = "share_of_runs: {where: 'step.drop_ratio > 0.9', at_most: 60 %}"


@pytest.fixture(scope="module")
def server(new_module_database: Callable[[], str]) -> Iterator[ServiceProcess]:
    """A server that may send to this machine, and knows two runs of now: one drops nearly all."""
    with service_starter(new_module_database()) as start:
        service = start("up", XRAY_ALERT_PRIVATE_ADDRESSES="true")
        now_ns = int(datetime.now(UTC).timestamp() * 1e9) - 60 * 10**9
        spans = []
        for run_id, out in (("good", 60), ("bad", 1)):
            identity = {"xray.run.id": run_id, "xray.pipeline.name": "shop"}
            step = {
                **identity,
                "xray.step.type": "filter",
                "xray.candidates.in": 100,
                "xray.candidates.out": out,
            }
            for name, attributes in (("run", {**identity, "xray.span.kind": "run"}), ("step", step)):
                spans.append(
                    otlp.span(name, attributes, trace=run_id, start_ns=now_ns, end_ns=now_ns + 10**6)
                )
        with httpx.Client(base_url=service.otlp_http, timeout=20.0, trust_env=False) as client:
            otlp.post(client, otlp.traces(spans)).raise_for_status()
        # Now, so that nobody has to wait until it is checked for the first time.
        stored = {"share_of_runs": {"where": "step.drop_ratio > 0.9", "at_most": 0}}
        with httpx.Client(base_url=service.api, timeout=20.0, trust_env=False) as client:
            client.put("/api/v1/contracts/kept", json=stored).raise_for_status()
        yield service


class Done(NamedTuple):
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


Xray = Callable[..., Done]


@pytest.fixture
def xray_at(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Xray]:
    """Run commands by the program's own entry, in this process: starting one for each takes long."""

    def run(url: str, *arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["xray", *arguments])
        monkeypatch.setenv("XRAY_API_URL", url)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return lambda url: partial(run, url)


@pytest.fixture
def xray(server: ServiceProcess, xray_at: Callable[[str], Xray]) -> Xray:
    """Commands that ask the server."""
    return xray_at(server.api)


@pytest.mark.parametrize(
    ("contracts", "code", "states"),
    [
        (f"[{{id: some, {SOME}}}]", 0, ["held"]),
        (f"[{{id: some, {SOME}}}, {{id: never, {NEVER}}}]", 1, ["held", "violated"]),
        (f"[{{id: other, runs: 'pipeline = \"other\"', {NEVER}}}]", 2, ["unknown"]),
    ],
)
def test_contracts_in_ci(xray: Xray, tmp_path: Path, contracts: str, code: int, states: list[str]):
    """The exit code tells held, violated and unknown apart; text, JSON and JUnit say the same."""
    file, junit = tmp_path / "contracts.yaml", tmp_path / "report.xml"
    file.write_text(f"contracts: {contracts}")
    answer = xray("contracts", "check", str(file), "--json", "--junit", str(junit))
    assert answer.returncode == code, answer.stderr
    assert [item["state"] for item in json.loads(answer.stdout)["items"]] == states
    suite = ElementTree.fromstring(junit.read_text())
    assert (suite.get("failures"), suite.get("errors")) == (
        str(states.count("violated")),
        str(states.count("unknown")),
    )
    kinds = {"held": [], "violated": ["failure"], "unknown": ["error"]}
    assert [[each.tag for each in case] for case in suite] == [kinds[state] for state in states]
    said = xray("contracts", "check", str(file), "--pipeline", "shop")
    assert ("run bad" in said.stdout) == ("violated" in states)


def test_the_process_ends_with_the_code(server: ServiceProcess, tmp_path: Path):
    """What CI sees."""
    file = tmp_path / "contracts.yaml"
    file.write_text(f"contracts: [{{id: never, {NEVER}}}]")
    ended = command.xray("contracts", "check", str(file), XRAY_API_URL=server.api)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize(
    ("command", "text", "problem"),
    [
        (
            ("contracts", "check"),
            "contracts: [{id: a, share_of_runs: {where: 'speed > 1', at_most: 5 %}}]",
            "contracts[0] (a): share_of_runs.where: ",
        ),
        (("contracts", "check"), "contracts: [a, b", "line 1, column"),
        (("contracts", "put"), "a: &a [*a]", "too much is repeated"),
        (("alerts", "put"), "a: &a [*a]", "too much is repeated"),
        (("alerts", "put"), "id: a\nabove: 2026-13-45", "no YAML"),
        (("alerts", "put"), "id: a\nabove: 2026-03-01", "not JSON serializable"),
        (("alerts", "put"), "id: 3", "a rule with an id is needed"),
    ],
)
def test_a_wrong_file_is_pointed_at(
    xray: Xray, tmp_path: Path, command: tuple[str, ...], text: str, problem: str
):
    """One line names the place in the file, or what is wrong with it."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    answer = xray(*command, str(file))
    assert answer.returncode == 2
    assert problem in answer.stderr
    assert xray(*command, str(tmp_path / "none.yaml")).returncode == 2


def test_what_was_just_put_is_said_to_come(
    database_url: str, monkeypatch: pytest.MonkeyPatch, xray_at: Callable[[str], Xray], tmp_path: Path
):
    """Where nobody has looked yet: so it stays until somebody does, and again when it is replaced."""
    contracts_shelf, alert_shelf = ContractShelf(database_url), AlertShelf(database_url)
    routers = (contracts.storing(contracts_shelf), alerts.storing(alert_shelf))
    with closing(Reader.open(database_url)) as reader:
        server = RestServer(create_app(load(ApiSettings, {}), reader, routers=routers))
        xray = xray_at(server.url)
        declared, rule = tmp_path / "contracts.yaml", tmp_path / "rule.yaml"
        declared.write_text(f"contracts: [{{id: never, {NEVER}}}]")
        rule.write_text(
            "id: drops\nsteps: {figure: drop_ratio.p99}\nabove: 0.9\nwebhooks: ['https://a.example/b']\n"
        )
        try:
            for _ in range(2):
                put = xray("contracts", "put", str(declared))
                assert "stored never, and checked within a minute" in put.stdout
                assert xray("alerts", "put", str(rule)).returncode == 0
                listed = " ".join(xray("contracts", "list").stdout.split())
                assert "never not checked yet due now –" in listed
                shown = " ".join(xray("alerts", "list").stdout.split())
                assert "drops not evaluated yet due now –" in shown
                with psycopg.connect(database_url, autocommit=True) as connection:
                    check_due(connection, partial(Reader.open, database_url))
                    evaluate_due(connection, partial(Reader.open, database_url))
                assert "unknown" in xray("contracts", "list").stdout
                assert "nothing seen" in xray("alerts", "list").stdout
        finally:
            server.stop()


def test_the_server_checks_and_tells(server: ServiceProcess, xray: Xray, tmp_path: Path):
    """A stored contract is checked by upkeep, a rule fires by upkeep, and the receiver hears it once."""
    contracts = tmp_path / "contracts.yaml"
    contracts.write_text(f"contracts: [{{id: never, {NEVER}}}]")
    assert xray("contracts", "put", str(contracts)).returncode == 0
    with receiving() as receiver:
        rule = tmp_path / "rule.yaml"
        rule.write_text(
            "id: drops\nsteps: {figure: drop_ratio.p99, group_by: [pipeline]}\nabove: 0.9\n"
            f"window: 1h\nwebhooks: ['{receiver.url}/t0ken']\n"
        )
        put = xray("alerts", "put", str(rule))
        assert put.returncode == 0, put.stderr
        assert "secret " in put.stdout
        sample = xray("alerts", "test", "drops")
        assert (sample.returncode, sample.stdout) == (0, f"{receiver.url}/***: HTTP 204\n")
        wait_until(lambda: len(receiver.requests) > 1, timeout_s=60.0, what="the rule told")
        shown = xray("alerts", "show", "drops").stdout
        assert "firing" in shown
        assert '"figure":"drop_ratio.p99"' in shown.replace("\n", "")
        assert "t0ken" not in shown
        after = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        tried = xray("alerts", "test", "drops", "--dry-run", "--started-after", after)
        assert tried.returncode == 0, tried.stderr
        span = ("--started-after", "2025-03-01T12:00:00Z", "--started-before", "2025-03-01T12:01:00Z")
        tried = xray("alerts", "test", "drops", "--dry-run", *span)
        assert tried.stdout == "It would have told nothing.\n2 evaluations, one every 60 s\n"
        assert "pipeline=shop" in xray("alerts", "list").stdout
        assert xray("alerts", "delete", "drops").returncode == 0
        wait_until(lambda: len(receiver.requests) > 2, timeout_s=60.0, what="the end told")
        assert [kind for kind, _ in receiver.events()] == ["test", "firing", "resolved"]
    wait_until(lambda: server.get("/contracts/kept")["results"], timeout_s=90.0, what="the contract checked")
    assert "violated" in xray("contracts", "list").stdout
    assert xray("contracts", "delete", "never").returncode == 0
