"""The reading commands, each against a running server."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures import otlp
from tests.fixtures.command import answered, xray
from tests.fixtures.services import ROOT, ServiceProcess, environment

RUN_ID = "run-with-a-long-id-0123456789-0123456789-0123456789-0123456789-0123456789"
STEP = {"xray.run.id": RUN_ID, "xray.step.attempt": 1}


@pytest.fixture(scope="module")
def server(module_xray_up: ServiceProcess) -> ServiceProcess:
    """A server that knows one run of two steps."""
    columns = {
        "v": 1,
        "n": 3,
        "item": ["a", "b", "c"],
        "verdict": "KEE",
        "reasons": ["too_dear"],
        "reason": [None, 0, 0],
        "value": [12.5, 99, 77],
        "threshold": 50,
    }
    run = {
        "xray.span.kind": "run",
        "xray.run.id": RUN_ID,
        "xray.pipeline.name": "shop",
        "xray.run.tag.market": "US",
    }
    price = {
        **STEP,
        "xray.step.id": "price",
        "xray.step.type": "filter",
        "xray.step.why": "customers do not pay more",
        "xray.candidates.in": 3,
        "xray.candidates.out": 1,
        "xray.reasons.codes": ["too_dear"],
        "xray.reasons.counts": [2],
        "xray.decisions.recorded": 3,
        "xray.decisions.chunks": 1,
    }
    pick = {
        **STEP,
        "xray.step.id": "pick",
        "xray.step.type": "select",
        "xray.candidates.in": 1,
        "xray.candidates.out": 1,
    }
    later_ns = otlp.BASE_NS + 5_000_000
    spans = [
        otlp.span("shop", run, trace=RUN_ID, end_ns=otlp.BASE_NS + 65_000_000_000),
        otlp.span("by price", price, trace=RUN_ID),
        otlp.span("pick [best]", pick, trace=RUN_ID, start_ns=later_ns, end_ns=later_ns + 340_000),
    ]
    evidence = {**STEP, "xray.step.id": "price", **otlp.decisions(columns)}
    records = [otlp.event("xray.step.decisions", evidence, trace=RUN_ID, within=f"{RUN_ID}/by price")]
    send(module_xray_up, otlp.traces(spans), otlp.logs(records))
    return module_xray_up


def send(server: ServiceProcess, *requests: otlp.Request) -> None:
    """Send the requests; all must be taken in."""
    with httpx.Client(base_url=server.otlp_http, timeout=20.0, trust_env=False) as client:
        for request in requests:
            assert otlp.post(client, request).status_code == 200


def on_terminal(server: ServiceProcess, columns: int, *arguments: str) -> tuple[str, str]:
    """What the command writes to a terminal of that width, and to stderr."""
    ours, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments, "--url", server.api],
            cwd=ROOT,
            env=environment({"COLUMNS": str(columns), "TERM": "xterm"}),
            stdout=terminal,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        # Some hundred bytes: the terminal's buffer has taken them, whole, before the command ended.
        return re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 65_536).decode()), done.stderr
    finally:
        os.close(ours)
        os.close(terminal)


def parsed(server: ServiceProcess, *arguments: str) -> Any:
    """The JSON that the command printed."""
    return json.loads(answered(server, *arguments, "--json"))


def test_runs_lists_the_run_with_its_whole_id(server: ServiceProcess) -> None:
    """In a pipe the list has one line per run, with the id uncut."""
    heading, line = answered(server, "runs").splitlines()
    assert heading.split()[:2] == ["RUN", "PIPELINE"]
    assert line.split()[0] == RUN_ID
    assert "66.7 %" in line
    assert "1 min 5 s" in line


def test_runs_passes_filters_on(server: ServiceProcess) -> None:
    """Options, tags, --filter and --where become filters of the API."""
    matching = parsed(
        server, "runs", "--pipeline", "shop", "--tag", "market=US", "-f", "step.drop_ratio_gt=0.6"
    )
    other = parsed(server, "runs", "-w", 'step.type = "filter" and step.drop_ratio > 0.7')
    assert [run["run_id"] for run in matching["items"]] == [RUN_ID]
    assert other["items"] == []
    assert answered(server, "runs", "--pipeline", "none") == "No run matches.\n"


def test_run_shows_the_funnel(server: ServiceProcess) -> None:
    """One run is shown with its steps in order, drop ratios, top reasons and whys."""
    shown = answered(server, "run", RUN_ID)
    assert RUN_ID in shown
    price, pick = (line for line in shown.splitlines() if line.startswith(("by price  ", "pick")))
    assert price.split()[2:] == ["filter", "3", "1", "66.7", "%", "1", "ms", "too_dear", "2"]
    assert "340 µs" in pick
    assert "pick [best]" in pick
    assert "by price: customers do not pay more" in shown
    assert parsed(server, "run", RUN_ID)["steps"][0]["name"] == "by price"


def test_explain_says_why(server: ServiceProcess) -> None:
    """The explanation opens with its summary and shows the funnel."""
    shown = answered(server, "explain", RUN_ID)
    summary = parsed(server, "explain", RUN_ID)["summary"]
    assert shown.splitlines()[0] == summary[0]
    assert "too_dear 2" in shown


def test_steps_answers_the_headline_question(server: ServiceProcess) -> None:
    """Filters that dropped more than a share are found across runs."""
    found = parsed(server, "steps", "--type", "filter", "--drop-ratio-gt", "0.6")
    assert [step["name"] for step in found["items"]] == ["by price"]
    assert "by price" in answered(server, "steps", "--type", "filter", "--drop-ratio-gt", "0.6")
    assert answered(server, "steps", "--drop-ratio-gt", "0.9") == "No step matches.\n"


def test_steps_name_their_pipeline_on_a_narrow_terminal(server: ServiceProcess) -> None:
    """At 80 columns each step has its pipeline; columns that are left out are named on stderr."""
    shown, said = on_terminal(server, 80, "steps", "--type", "filter")
    assert shown.split()[:4] == ["RUN", "PIPELINE", "STEP", "DROP"]
    assert "shop" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert said.startswith("6 columns hidden (TYPE, IN, OUT, TOOK, STARTED, MOST FREQUENT REASON): ")
    assert on_terminal(server, 160, "steps", "--type", "filter")[1] == ""


def test_explain_without_recorded_candidates(xray_up: ServiceProcess) -> None:
    """A winner whose way was not recorded is named without one, and without a score that nobody gave."""
    run = {"xray.span.kind": "run", "xray.run.id": "bare", "xray.pipeline.name": "bare"}
    pick = {
        "xray.run.id": "bare",
        "xray.step.id": "pick",
        "xray.step.type": "select",
        "xray.candidates.in": 3,
        "xray.candidates.out": 1,
        "xray.selected.id": "w",
    }
    send(xray_up, otlp.traces([otlp.span("bare", run, trace="bare"), otlp.span("pick", pick, trace="bare")]))
    assert parsed(xray_up, "explain", "bare")["winner"]["journey"] == []
    assert answered(xray_up, "explain", "bare").endswith(
        "\nWinner w\nits way is not known: single candidates were not recorded\n"
    )
    refused = xray("item", "bare", "x", "--url", xray_up.api)
    assert "no candidates were recorded, so it may have passed unseen" in refused.stderr


def test_run_that_crashed_shows_its_error(xray_up: ServiceProcess) -> None:
    """The error that ended a run stands among its headlines."""
    run = {
        "xray.span.kind": "run",
        "xray.run.id": "crashed",
        "xray.pipeline.name": "crash",
        "error.type": "KeyError",
    }
    send(xray_up, otlp.traces([otlp.span("crash", run, trace="crashed", error="'price'")]))
    assert "KeyError: 'price'" in next(
        line for line in answered(xray_up, "run", "crashed").splitlines() if line.startswith("error")
    )


def test_item_is_followed_through_the_steps(server: ServiceProcess) -> None:
    """The journey names verdict, reason, value and threshold, and the step whose record is not there."""
    shown = answered(server, "item", RUN_ID, "b")
    assert shown.startswith(f"b in run {RUN_ID}: eliminated\n")
    price, pick = (line for line in shown.splitlines() if line.startswith(("by price", "pick")))
    assert price.split()[2:] == ["eliminated", "too_dear", "–", "99", "50"]
    assert "unknown" in pick


def test_next_page_is_named_outside_the_rows(server: ServiceProcess) -> None:
    """The cursor of the next page goes to stderr, and works."""
    first = xray("steps", "--limit", "1", "--url", server.api)
    assert first.returncode == 0
    assert len(first.stdout.splitlines()) == 2
    cursor = first.stderr.split("--cursor ")[1].strip()
    second = parsed(server, "steps", "--limit", "1", "--cursor", cursor)
    assert [step["name"] for step in second["items"]] == ["by price"]


def test_the_next_page_of_a_time_in_words(server: ServiceProcess) -> None:
    """The time is named as it was understood: later on the words mean another, which the cursor is not of."""
    asked = ("steps", "--limit", "1", "--started-after", "9000d")
    first = xray(*asked, "--url", server.api)
    _, told = first.stderr.split("repeat with ")
    assert re.fullmatch(r"--started-after \S+T\S+:00Z --cursor \S+", told.strip())
    second = parsed(server, *asked, *told.split())
    assert [step["name"] for step in second["items"]] == ["by price"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "nowhere"), 1, "HTTP 404"),
        (("runs", "-f", "colour=red"), 2, "colour"),
        (("runs", "--limit", "0"), 2, "limit"),
        (("runs", "-f", "colour"), 2, "NAME=VALUE is accepted"),
        (("steps", "--type", "teleport"), 2, "step_type"),
    ],
)
def test_refusals_are_one_line(
    server: ServiceProcess, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A refusal is one line that says what was wrong; 2 for the question, 1 for the answer."""
    done = xray(*arguments, "--url", server.api)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


def test_a_caret_points_into_the_expression(server: ServiceProcess) -> None:
    """Under the refusal stands what was asked, with a caret where it is not understood."""
    asked = 'type = "filter" and tag.größe = "L" and drop_rati > 0.9'
    done = xray("steps", "--where", asked, "--url", server.api)
    assert (done.returncode, done.stdout) == (2, "")
    line, shown, caret = done.stderr.splitlines()
    assert "did you mean drop_ratio?" in line
    assert shown.strip() == asked
    assert caret.index("^") == shown.index("drop_rati")
    far = " and ".join(["duration_ms > 1"] * 20)
    _, shown, caret = xray("runs", "-w", far + " or colour = 1", "--url", server.api).stderr.splitlines()
    assert len(shown) < 80
    assert shown[caret.index("^") :].startswith("colour")


def test_where_selects(server: ServiceProcess) -> None:
    """--where asks in the filter language, beside the other options."""
    found = parsed(server, "steps", "--type", "filter", "--where", 'drop_ratio > 0.6 and tag.market = "US"')
    assert [step["name"] for step in found["items"]] == ["by price"]
    assert parsed(server, "steps", "--where", 'not run_id contains "long"')["items"] == []


def test_export_writes_files(server: ServiceProcess, tmp_path: Path) -> None:
    """Rows go to stdout, or to the file that is named; nothing is left behind by a refusal."""
    lines = answered(server, "export", "steps", "--where", 'type = "filter"').splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["by price"]
    table = answered(
        server, "export", "decisions", "--format", "csv", "-f", "verdict=eliminated"
    ).splitlines()
    assert table[0].startswith("run_id,pipeline,")
    assert len(table) == 3
    file = tmp_path / "runs.parquet"
    assert answered(server, "export", "runs", "--format", "parquet", "-o", str(file)) == ""
    assert file.read_bytes()[:4] == file.read_bytes()[-4:] == b"PAR1"
    refused = xray("export", "runs", "-w", "colour = 1", "-o", str(tmp_path / "none"), "--url", server.api)
    assert refused.returncode == 2
    assert not (tmp_path / "none").exists()


def test_an_export_that_breaks_off_is_no_success() -> None:
    """When the connection ends before the answer does, the command says that the rows are not all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_half() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65_536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")

        answering = threading.Thread(target=answer_half)
        answering.start()
        done = xray("export", "runs", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        answering.join()
    assert (done.returncode, done.stdout) == (1, "{}\n")
    assert "what was written is not all" in done.stderr


def test_api_that_is_away(free_port: int) -> None:
    """When nobody answers, the line names the URL and how to start a server or name another."""
    done = xray("runs", XRAY_API_URL=f"http://127.0.0.1:{free_port}")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"127.0.0.1:{free_port}" in done.stderr
    assert "xray up" in done.stderr
    nonsense = xray("runs", XRAY_API_URL="nonsense")
    assert (nonsense.returncode, "XRAY_API_URL 'nonsense'" in nonsense.stderr) == (2, True)


def test_metrics_in_numbers_and_reasons(server: ServiceProcess) -> None:
    """A line for each group and bucket; what steps are grouped by stands first, and filters hold."""
    ours = ("metrics", "--pipeline", "shop", "-f", "step_type=filter")
    heading, line = answered(server, *ours).splitlines()
    assert heading.split()[:4] == ["PIPELINE", "NAME", "STEPS", "ERRORS"]
    assert line.split()[:3] == ["shop", "by", "price"]
    assert line.split()[-8:] == ["66.7", "%", "66.7", "%", "1", "ms", "1", "ms"]
    heading, line = answered(server, *ours, "--by", "step_type", "--bucket", "1d", "--reasons").splitlines()
    assert heading.split() == ["SINCE", "STEP", "TYPE", "REASON", "CANDIDATES", "SHARE"]
    assert line.split()[-5:] == ["filter", "too_dear", "2", "100.0", "%"]
    (whole,) = parsed(server, *ours, "--by", "")["items"]
    assert (whole["steps"], whole["candidates_in"]) == (1, 3)
    assert answered(server, "metrics", "--pipeline", "none") == "No step matches.\n"
    refused = xray("metrics", "--by", "colour", "--url", server.api)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "group_by must be some of pipeline" in refused.stderr


def test_items_finds_an_item_in_all_runs(server: ServiceProcess) -> None:
    """One line per decision, newest first; on stderr, how far the search has looked."""
    done = xray("items", "b", "--verdict", "eliminated", "--url", server.api)
    assert done.returncode == 0, done.stderr
    heading, line = done.stdout.splitlines()
    assert heading.split()[:5] == ["STARTED", "RUN", "PIPELINE", "STEP", "VERDICT"]
    assert RUN_ID in line
    assert line.split()[-5:] == ["eliminated", "too_dear", "–", "99", "50"]
    assert done.stderr.startswith("searched: 2 steps back to ")
    assert done.stderr.endswith("; not every item is known of: 1 without decisions\n")
    (decision,) = parsed(server, "items", "b", "--pipeline", "shop")["items"]
    assert (decision["run_id"], decision["value"]) == (RUN_ID, 99)
    assert answered(server, "items", "b", "--type", "rank") == "No decision about b matches.\n"
