"""
The ways a process ends, with a server and without: what is finished arrives, once.

Each case is a program that records steps and ends in its way. All of them run against a
server that is there, and again while it is away; then it comes back and
``sync`` sends what they left.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fixtures.otlp_receiver import HttpReceiver, Received
from xray_otel._sync import ALL_SENT, Progress, sync
from xray_otel.settings import Settings

ROOT = Path(__file__).parents[2]
AT_ONCE = 4
"""Programs that run at the same time."""

HEAD = """
import atexit, multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
import xray_otel as xray
from xray_otel import _exits, _setup

NAME = os.environ["CASE"]

def step(name):
    with xray.step(name, type="filter") as current:
        current.accept("a")

def work(name="work"):
    with xray.run(NAME):
        step(name)

def work_all(number):
    work(f"work{number}")

def safe():
    "Waits until everything is delivered or on disk: what the sender does by itself within some 100 ms."
    buffer = _setup.client().pipeline._buffer
    while buffer.open_count != buffer.stored_count:
        time.sleep(0.01)

"""
MAIN = 'if __name__ == "__main__":\n'


class Case(NamedTuple):
    """A program, what has to arrive of it, and how it ends."""

    code: str
    steps: tuple[str, ...] = ("work",)
    exit_code: int = 0
    unfinished: int = 0
    """Runs that start and of which no end arrives."""
    settings: tuple[tuple[str, str], ...] = ()


def workers(code: str, steps: tuple[str, ...] = ("parent", "work0", "work1")) -> Case:
    body = f'work("parent")\n{code}'
    return Case(MAIN + "".join(f"    {line}\n" for line in body.splitlines()), steps)


CASES = {
    "end of the program": Case("work()"),
    "sys.exit": Case("work(); sys.exit(3)", exit_code=3),
    "unhandled exception": Case("work(); raise ValueError", exit_code=1),
    "exception inside the run": Case(
        'with xray.run(NAME):\n    step("work")\n    raise ValueError', exit_code=1
    ),
    "SIGINT": Case("work(); os.kill(os.getpid(), signal.SIGINT)", exit_code=-2),
    "SIGTERM": Case("work(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", exit_code=-15),
    "SIGTERM inside the run": Case(
        'with xray.run(NAME):\n    step("work")\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)',
        exit_code=-15,
        unfinished=1,
    ),
    "SIGTERM, own handler exits": Case(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); work(); os.kill(os.getpid(), signal.SIGTERM)",
        exit_code=4,
    ),
    "SIGTERM, own handler calls the one before": Case(
        "work('before')\n"
        "previous = signal.getsignal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, lambda *given: previous(*given))\n"
        "os.kill(os.getpid(), signal.SIGTERM); work('after')",
        ("before", "after"),
    ),
    "SIGTERM ignored": Case(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); work(); os.kill(os.getpid(), signal.SIGTERM)\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN; work('after')",
        ("work", "after"),
    ),
    "SIGTERM not handled by setting": Case(
        "work(); safe(); assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
        exit_code=-15,
        settings=(("XRAY_HANDLE_SIGTERM", "false"),),
    ),
    "SIGKILL inside the run": Case(
        'with xray.run(NAME):\n    step("work"); safe(); os.kill(os.getpid(), signal.SIGKILL)',
        exit_code=-9,
        unfinished=1,
    ),
    "os._exit after a flush": Case("work(); xray.flush(5); os._exit(0)"),
    "os._exit a moment later": Case("work(); safe(); os._exit(0)"),
    "run and step never ended": Case(
        'run = xray.run(NAME).__enter__(); step("work"); xray.step("open").__enter__()', unfinished=1
    ),
    "thread that outlives main": Case(
        "threading.Thread(target=lambda: (time.sleep(0.3), work('late'))).start(); work()", ("work", "late")
    ),
    "daemon thread ends a step during exit": Case(
        "go, gone = threading.Event(), threading.Event()\n"
        # Registered before X-Ray's own is moved to the front below, so it runs after it.
        "atexit.register(lambda: (go.set(), gone.wait(20)))\n"
        "atexit.unregister(_exits._end); atexit.register(_exits._end)\n"
        "def late():\n"
        "    with xray.run(NAME), xray.step('late'):\n"
        "        go.wait(60)\n"
        "    gone.set()\n"
        "threading.Thread(target=late, daemon=True).start(); work()",
        ("work", "late"),
    ),
    "frozen after the run": Case(
        "work(); os.kill(os.getpid(), signal.SIGKILL)", exit_code=-9, settings=(("XRAY_FLUSH", "run"),)
    ),
    "frozen by a platform": Case(
        "work(); os.kill(os.getpid(), signal.SIGKILL)",
        exit_code=-9,
        settings=(("AWS_LAMBDA_FUNCTION_NAME", "f"),),
    ),
    "fork, child by sys.exit": workers(
        "child = os.fork()\nif child == 0:\n    work('work0'); sys.exit(0)\n"
        "os.waitpid(child, 0); work('work1')"
    ),
    "fork, child by os._exit": workers(
        "child = os.fork()\nif child == 0:\n    work('work0'); safe(); os._exit(0)\n"
        "os.waitpid(child, 0); work('work1')"
    ),
    "fork, child by SIGTERM": workers(
        "child = os.fork()\nif child == 0:\n    work('work0'); os.kill(os.getpid(), signal.SIGTERM)\n"
        "os.waitpid(child, 0); work('work1')"
    ),
    "Process": workers(
        "for number in range(2):\n"
        "    process = multiprocessing.get_context('fork').Process(target=work_all, args=(number,))\n"
        "    process.start(); process.join()"
    ),
    "Process, spawned": workers(
        "for number in range(2):\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work_all, args=(number,))\n"
        "    process.start(); process.join()"
    ),
    "Pool, closed": workers(
        "pool = multiprocessing.get_context('fork').Pool(2)\n"
        "pool.map(work_all, range(2), 1); pool.close(); pool.join()"
    ),
    "Pool, terminated": workers(
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    pool.map(work_all, range(2), 1)"
    ),
    "Pool, workers replaced after each task": workers(
        "pool = multiprocessing.get_context('fork').Pool(1, maxtasksperchild=1)\n"
        "pool.map(work_all, range(3), 1); pool.close(); pool.join()",
        ("parent", "work0", "work1", "work2"),
    ),
    "ProcessPoolExecutor": workers(
        "with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        "    list(pool.map(work_all, range(2)))"
    ),
    "workers forked by a server and replaced": workers(
        # As gunicorn does: the application is loaded first, each worker handles its share and exits.
        "for number in range(2):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "        work_all(number); sys.exit(0)\n"
        "    os.waitpid(child, 0)"
    ),
}


class Outcome(NamedTuple):
    """How a program ended."""

    exit_code: int
    stderr: str


def spool_of(name: str, folder: Path) -> Path:
    """Each program has its own: one that is killed while it sends what another left would send it twice."""
    return folder / "spools" / f"{list(CASES).index(name)}"


def run_case(name: str, folder: Path, environ: dict[str, str]) -> Outcome:
    case = CASES[name]
    file = folder / f"{list(CASES).index(name)}.py"
    file.write_text(HEAD + case.code + "\n")
    result = subprocess.run(
        [sys.executable, str(file)],
        cwd=ROOT,
        env=os.environ
        | environ
        | {"CASE": name, "PYTHONPATH": str(ROOT), "XRAY_SPOOL_DIR": str(spool_of(name, folder))}
        | dict(case.settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(result.returncode, result.stderr)


def run_all(folder: Path, endpoint: str) -> dict[str, Outcome]:
    environ = {
        "XRAY_ENDPOINT": endpoint,
        "XRAY_EXPORT_TIMEOUT_S": "20",  # an answer that comes too late is a request that comes twice
        "XRAY_EXIT_TIMEOUT_S": "20",
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(lambda name: run_case(name, folder, environ), CASES)
        return dict(zip(CASES, outcomes, strict=True))


def sync_all(folder: Path, endpoint: str) -> str:
    """Sends what the programs left; returns what went wrong."""
    wrong = io.StringIO()
    for name in CASES:
        said = io.StringIO()
        settings = Settings(endpoint=endpoint, spool_dir=str(spool_of(name, folder)), export_timeout_s=20)
        if sync(settings, 60, Progress(said)) != ALL_SENT:
            wrong.write(f"{name}: {said.getvalue()}")
    return wrong.getvalue()


class Results(NamedTuple):
    outcomes: dict[str, Outcome]
    received: Received
    left: str
    """What ``sync`` could not send."""


@pytest.fixture(scope="module")
def with_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """All programs while the server is there."""
    folder = tmp_path_factory.mktemp("with")
    receiver = HttpReceiver()
    outcomes = run_all(folder, receiver.endpoint)
    yield Results(outcomes, receiver.received, sync_all(folder, receiver.endpoint))
    receiver.close()


@pytest.fixture(scope="module")
def without_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """All programs while it is away; it comes back afterwards."""
    folder = tmp_path_factory.mktemp("without")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcomes = run_all(folder, f"http://127.0.0.1:{port}")
    receiver = HttpReceiver(port)
    yield Results(outcomes, receiver.received, sync_all(folder, receiver.endpoint))
    receiver.close()


def check(name: str, results: Results) -> None:
    case, outcome = CASES[name], results.outcomes[name]
    assert outcome.exit_code == case.exit_code, outcome.stderr
    records = [
        record for record in results.received.records if record.attributes["xray.pipeline.name"] == name
    ]
    assert Counter(r.name for r in records if r.attributes.get("xray.span.kind") == "step") == Counter(
        case.steps
    )
    decisions = Counter(r.attributes["xray.step.id"] for r in records if r.name == "xray.step.decisions")
    steps = [r.attributes for r in records if r.attributes.get("xray.span.kind") == "step"]
    # Each chunk that a step announces, once; of a step that did not end, none.
    assert decisions == {s["xray.step.id"]: 1 for s in steps if s.get("xray.decisions.chunks")}
    starts = Counter(r.attributes["xray.run.id"] for r in records if r.name == "xray.run.start")
    ends = Counter(
        r.attributes["xray.run.id"] for r in records if r.attributes.get("xray.span.kind") == "run"
    )
    assert set(starts.values()) == {1}
    assert set(ends.values()) <= {1}
    assert len(starts - ends) == case.unfinished
    assert not ends - starts


@pytest.mark.parametrize("name", CASES)
def test_with_a_server(name: str, with_server: Results):
    """The server is there: all that was finished has arrived, each once; nobody was asked to wait."""
    check(name, with_server)


@pytest.mark.parametrize("name", CASES)
def test_while_the_server_is_away(name: str, without_server: Results):
    """The program ends as ever, and once the server is back all that was finished arrives, once."""
    assert without_server.left == ""
    check(name, without_server)


@pytest.mark.parametrize(
    ("offline", "protocol", "told"),
    [
        ("buffer", "http/protobuf", "4 records wait for"),
        ("drop", "http/protobuf", "4 records lost, not delivered"),
        ("drop", "grpc", "4 records lost, not delivered"),
    ],
)
def test_exit_with_a_dead_server_is_short(tmp_path: Path, offline: str, protocol: str, told: str):
    """A server that takes connections and never answers holds the exit up for XRAY_EXIT_TIMEOUT_S at most."""
    code = HEAD + "work(); atexit.register(lambda: print(time.monotonic(), flush=True))"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ
            | {"CASE": "r", "XRAY_ENDPOINT": endpoint, "XRAY_SPOOL_DIR": str(tmp_path)}
            | {"XRAY_OFFLINE": offline, "XRAY_PROTOCOL": protocol},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        took_s = time.monotonic() - float(result.stdout)
    assert took_s < 2.0 + 1.5  # the interpreter's own end, on a busy machine
    assert told in result.stderr
