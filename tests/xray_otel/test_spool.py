"""The offline buffer on disk: what it holds, who may send it, and what happens when it cannot be written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver, Received
from tests.fixtures.small_disk import NOT_RUN, SmallDisk
from tests.fixtures.waiting import wait_until
from xray_otel import _setup, semconv
from xray_otel._buffer import Event, Item, Part, Priority, parts_of
from xray_otel._otlp import logs_request
from xray_otel._segments import SUFFIX, Segment
from xray_otel._spool import Spool, folder_name
from xray_otel._transport import Payload, Signal

ROOT = Path(__file__).parents[2]


def record(number: int, candidates: int = 10) -> None:
    with xray.run("r", run_id=f"run-{number}"), xray.step(f"s{number}", type="filter") as step:
        step.record([f"{number}-{item}" for item in range(candidates)], "E", "no", texts=f"text {number}")


def stored() -> None:
    """Waits until everything that is open lies on disk."""
    buffer = _setup.client().pipeline._buffer
    wait_until(lambda: buffer.open_count == buffer.stored_count > 0, timeout_s=20, what="all is on disk")


def away(receiver: HttpReceiver, **settings) -> None:
    receiver.answer = lambda request: 503
    xray.configure(endpoint=receiver.endpoint, flush_interval_ms=1, **settings)


def back(receiver: HttpReceiver) -> Received:
    receiver.answer = lambda request: None
    return receiver.received


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def assert_once(received: Received, numbers: Sequence[int]) -> None:
    steps = Counter(span.name for span in received.spans("step"))
    assert steps == Counter(f"s{number}" for number in numbers)
    assert len(received.events("xray.step.decisions")) == len(numbers)
    assert len(received.events("xray.run.start")) == len(received.spans("run")) == len(numbers)


def test_an_outage_leaves_nothing_behind(otlp_receiver: HttpReceiver, spool_dir: Path):
    """While the server is away records lie on disk, for this user alone; later they arrive, once."""
    away(otlp_receiver, api_key="xray_secret_key")
    for number in range(5):
        record(number)
        stored()
    files = segments(spool_dir)
    assert files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert b"secret" not in path.read_bytes()
    received = back(otlp_receiver)
    assert xray.flush(20)
    assert_once(received, range(5))
    assert segments(spool_dir) == []
    assert _setup.client().pipeline.losses == {}


def test_the_next_process_sends_what_a_dead_one_left(otlp_receiver: HttpReceiver, spool_dir: Path):
    """After SIGKILL another process that delivers to the same endpoint finds the records and sends them."""
    otlp_receiver.answer = lambda request: 503
    code = (
        "import os\nfrom tests.xray_otel.test_spool import record, stored\n"
        "record(1)\nstored()\nos.kill(os.getpid(), 9)"
    )
    environ = os.environ | {"XRAY_ENDPOINT": otlp_receiver.endpoint, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code], env=environ, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert segments(spool_dir)
    received = back(otlp_receiver)
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    record(2)
    received.wait(lambda received: len(received.spans("step")) == 2)
    wait_until(lambda: not segments(spool_dir), timeout_s=20, what="the spool is empty")
    assert_once(received, [1, 2])


def run_script(receiver: HttpReceiver, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program that ends by itself, with all the time that it asks for to send what is left."""
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys\nfrom tests.xray_otel.test_spool import record\n{code}"],
        env=os.environ
        | {"XRAY_ENDPOINT": receiver.endpoint, "XRAY_EXIT_TIMEOUT_S": "40", "PYTHONPATH": str(ROOT)}
        | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def run_scripts(receiver: HttpReceiver, codes: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """Several at the same time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda code: run_script(receiver, code), codes))


def leave(receiver: HttpReceiver, numbers: Sequence[int]) -> None:
    """Programs that end while the server is away."""
    receiver.answer = lambda request: 503
    for program in run_scripts(receiver, [f"record({number})" for number in numbers]):
        assert "4 records wait for" in program.stderr
        assert "the next programs that reach it send them" in program.stderr


def test_the_next_short_script_sends_what_another_left(otlp_receiver: HttpReceiver, spool_dir: Path):
    """A program that ends at once sends its own records, then those of the ones before it."""
    leave(otlp_receiver, [1])
    assert segments(spool_dir)
    received = back(otlp_receiver)
    run_script(otlp_receiver, "record(2)")
    assert segments(spool_dir) == []
    assert_once(received, [1, 2])


def test_short_scripts_at_the_same_time_send_each_record_once(otlp_receiver: HttpReceiver, spool_dir: Path):
    """What several left is shared out among those that end at the same time."""
    leave(otlp_receiver, range(3))
    received = back(otlp_receiver)
    endings = ("", "import xray_otel\nxray_otel.shutdown(40)")
    run_scripts(otlp_receiver, [f"record({number})\n{endings[number % 2]}" for number in range(3, 7)])
    assert segments(spool_dir) == []
    assert_once(received, range(7))


@pytest.mark.parametrize("trouble", ["503", "no answer"])
def test_what_others_left_holds_no_exit_up(otlp_receiver: HttpReceiver, spool_dir: Path, trouble: str):
    """When the server takes a program's own records and not what lies on disk, the exit does not insist."""
    leave(otlp_receiver, [1])
    end = threading.Event()

    def answer(request: Any) -> int | None:
        if b"run-1" not in request.SerializeToString():
            return None
        if trouble == "no answer":
            end.wait(100)
        return 503

    otlp_receiver.answer = answer
    try:
        # Longer than the program is given to end.
        run_script(otlp_receiver, "record(2)", XRAY_EXIT_TIMEOUT_S="600")
    finally:
        end.set()
    assert segments(spool_dir)
    assert_once(otlp_receiver.received, [2])


def test_a_script_with_a_wrong_key_loses_nothing_of_others(otlp_receiver: HttpReceiver, spool_dir: Path):
    """Whose own records the server refuses leaves what lies on disk alone."""
    leave(otlp_receiver, [1])
    before = [path.read_bytes() for path in segments(spool_dir)]
    otlp_receiver.answer = lambda request: 401
    assert "lost (refused)" in run_script(otlp_receiver, "record(2)").stderr
    assert [path.read_bytes() for path in segments(spool_dir)] == before


def test_workers_leave_what_others_left_to_their_parent(otlp_receiver: HttpReceiver, spool_dir: Path):
    """A program waits for its workers while it runs, so only its own exit sends what lies on disk."""
    leave(otlp_receiver, [1])
    received = back(otlp_receiver)
    code = (
        "import multiprocessing\n"
        "if os.fork() == 0:\n    record(2)\n    sys.exit(0)\n"
        "os.wait()\n"
        "worker = multiprocessing.get_context('spawn').Process(target=record, args=(3,))\n"
        "worker.start(); worker.join()\n"
        "from pathlib import Path\n"
        "print(len(list(Path(os.environ['XRAY_SPOOL_DIR']).glob('*/*'))))\n"
        "record(4)"
    )
    result = run_script(otlp_receiver, code)
    assert result.stdout == "2\n", result.stderr
    assert segments(spool_dir) == []
    assert_once(received, [1, 2, 3, 4])


def test_shutdown_stores_what_waits(otlp_receiver: HttpReceiver, spool_dir: Path):
    """What is under way or waits at the shutdown goes to disk; the next client sends it."""
    otlp_receiver.hold.clear()
    answered: list[int] = []
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)

    def answer(request: object) -> int:
        answered.append(1)
        return 503

    otlp_receiver.answer = answer
    record(1)
    assert not xray.shutdown(0.5)
    assert segments(spool_dir)
    otlp_receiver.hold.set()
    wait_until(lambda: answered, timeout_s=20, what="the request under way is answered")
    received = back(otlp_receiver)
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    record(2)
    wait_until(lambda: not segments(spool_dir), timeout_s=20, what="the spool is empty")
    assert_once(received, [1, 2])


def payload(number: int, size_bytes: int = 2000) -> Payload:
    return Payload(Signal.LOGS, f"{number:06}".encode() + os.urandom(size_bytes))


def part(number: int, priority: Priority, records: int = 1) -> Part:
    return Part(f"run-{number}", priority, records, 10 * records)


class Shed:
    """Notes what a spool gives up."""

    def __init__(self) -> None:
        self.parts: list[tuple[Part, str]] = []

    def __call__(self, parts: Sequence[Part], cause: str) -> None:
        self.parts += [(one, cause) for one in parts]


def numbers(spool: Spool) -> list[int]:
    """The numbers of all stored payloads, in the order in which they would be sent."""
    found = []
    for segment in spool.claim():
        found += [int(frame.payload.data[:6]) for frame in segment.frames() if not frame.is_damaged]
        segment.close()
    return found


def test_a_torn_tail_is_cut(tmp_path: Path):
    """
    Of a segment that ends anywhere inside a frame, or in rubbish, the whole frames before it are sent.

    Of one that is damaged anywhere, those after it as well.
    """
    spool = Spool(tmp_path, 10**8, Shed())
    for number in range(3):
        spool.append(0, payload(number, 20), (part(number, Priority.STEP),))
    spool.seal()
    [path] = tmp_path.glob(f"*{SUFFIX}")
    whole = path.read_bytes()
    claimed = Segment.claim(path)
    assert claimed is not None
    ends = [frame.end for frame in claimed.frames()]
    claimed.close()
    assert ends[-1] == len(whole)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert numbers(spool) == [number for number, end in enumerate(ends) if end <= size]
    starts = [16, *ends]
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        untouched = [number for number in range(3) if not starts[number] <= position < ends[number]]
        if not 8 <= position < 16:  # where to begin
            assert numbers(spool) == untouched
    path.write_bytes(whole + os.urandom(100))
    assert numbers(spool) == [0, 1, 2]


def test_a_damaged_request_is_counted(otlp_receiver: HttpReceiver, spool_dir: Path, caplog):
    """Of a file that is damaged in the middle the rest arrives, and the server hears of what does not."""
    folder = spool_dir / folder_name(otlp_receiver.endpoint)
    spool = Spool(folder, 10**8, Shed())
    resource = Resource.get_empty()
    for number in range(3):
        event = Event(semconv.EVENT_RUN_START, 1, {semconv.RUN_ID: f"run-{number}"}, resource)
        request = Payload(Signal.LOGS, logs_request([event]).SerializeToString())
        spool.append(0, request, (part(number, Priority.RUN),))
    spool.seal()
    [path] = folder.glob(f"*{SUFFIX}")
    segment = next(spool.claim())
    ends = [frame.end for frame in segment.frames()]
    segment.close()
    data = bytearray(path.read_bytes())
    data[ends[1] - 1] ^= 0x55
    path.write_bytes(data)
    xray.configure(endpoint=otlp_receiver.endpoint, flush_interval_ms=1)
    record(3)
    received = otlp_receiver.received
    received.wait(lambda received: sum_reported(received) > 0)
    assert segments(spool_dir) == []
    starts = {event.attributes["xray.run.id"] for event in received.events("xray.run.start")}
    assert starts == {"run-0", "run-2", "run-3"}
    [report] = received.events("xray.losses")
    assert report.attributes["xray.run.id"] == "run-1"
    assert _setup.client().pipeline.losses == {("run", "damaged"): 1}
    assert "1 record lost (damaged)" in caplog.text


def test_what_is_acknowledged_is_not_sent_again(tmp_path: Path):
    """A sender that dies in the middle of a segment leaves the rest of it to the next one."""
    spool = Spool(tmp_path, 10**8, Shed())
    for number in range(3):
        spool.append(0, payload(number), ())
    segment = next(spool.claim())
    segment.acknowledge(next(segment.frames()))
    segment.close()
    assert numbers(spool) == [1, 2]


def test_a_stored_outcome_keeps_its_name(tmp_path: Path):
    """What is lost with a request on disk is read from it; older clients read its manifest."""
    resource = Resource.get_empty()
    names = {"run-1": semconv.EVENT_OUTCOME, "run-2": semconv.EVENT_RUN_START}
    events = [Event(name, 1, {semconv.RUN_ID: run_id}, resource) for run_id, name in names.items()]
    parts = tuple(parts_of([Item(Priority.RUN, 1, event) for event in events]))
    assert parts == (Part("run-1", Priority.RUN, 1, 1, "outcome"), Part("run-2", Priority.RUN, 1, 1))
    spool = Spool(tmp_path, 10**8, Shed())
    spool.append(0, Payload(Signal.LOGS, logs_request(events).SerializeToString()), parts)
    spool.seal()
    [path] = tmp_path.glob(f"*{SUFFIX}")
    assert b'[["run-1",0,1,1],["run-2",0,1,1]]' in path.read_bytes()
    segment = next(spool.claim())
    assert [frame.parts for frame in segment.frames()] == [parts]
    segment.close()


def test_a_segment_has_one_owner(tmp_path: Path):
    """What one process writes or sends no other one takes; a second writer has files of its own."""
    one, other = Spool(tmp_path, 10**8, Shed()), Spool(tmp_path, 10**8, Shed())
    one.append(0, payload(1), ())
    assert numbers(other) == []
    other.append(0, payload(2), ())
    assert len(other.stored()) == 2
    claimed = next(one.claim())
    assert numbers(other) == [2]
    claimed.remove()
    assert numbers(one) == [2]


def test_attempts_leave_no_trail_of_files(otlp_receiver: HttpReceiver, spool_dir: Path):
    """However often the server is tried in vain, a class has the file that is tried and one that grows."""
    away(otlp_receiver)
    for number in range(12):
        record(number)
        assert not xray.flush(0.3)
    stored()
    assert len(segments(spool_dir)) <= 4
    received = back(otlp_receiver)
    assert xray.flush(30)
    assert_once(received, range(12))


def test_a_full_spool_sheds_evidence_before_metrics(tmp_path: Path):
    """The lowest class goes first and in it the newest; what is lost is told by run; the bound holds."""
    shed = Shed()
    spool = Spool(tmp_path, 65_536, shed)
    for number in range(20):
        assert spool.append(2, payload(number), (part(number, Priority.ARTIFACT),))
    for number in range(20, 30):
        assert spool.append(1, payload(number), (part(number, Priority.DECISIONS),))
    for number in range(30, 55):
        assert spool.append(0, payload(number), (part(number, Priority.STEP),))
    assert spool.append(2, payload(99), (part(99, Priority.ARTIFACT),)) is None
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 65_536
    left = numbers(spool)
    assert left[:25] == list(range(30, 55))
    assert sorted(left + [int(one.run_id[4:]) for one, _ in shed.parts]) == list(range(55))
    assert {cause for _, cause in shed.parts} == {"spool_full"}
    artifacts = [number for number in left if number < 20]
    assert artifacts == list(range(len(artifacts)))
    assert not artifacts or set(range(20, 30)) <= set(left)


def test_a_full_spool_is_accounted_for(otlp_receiver: HttpReceiver):
    """What did not fit is counted, and the server hears of it with the run it belongs to."""
    away(otlp_receiver, spool_bytes=65_536)
    for number in range(12):
        with xray.run("r", run_id=f"run-{number}") as run:
            run.artifact("noise", os.urandom(9_000))
        stored()
    received = back(otlp_receiver)
    assert xray.flush(20)
    lost = _setup.client().pipeline.losses
    assert set(lost) == {("artifact", "spool_full")}
    arrived = {event.attributes["xray.run.id"] for event in received.events("xray.artifact")}
    assert len(arrived) + lost["artifact", "spool_full"] == 12
    assert len(received.spans("run")) == 12
    received.wait(lambda received: sum_reported(received) == lost["artifact", "spool_full"])
    reported = {event.attributes["xray.run.id"] for event in received.events("xray.losses")}
    assert reported == {f"run-{number}" for number in range(12)} - arrived


def sum_reported(received: Received) -> int:
    return sum(sum(event.attributes["xray.losses.counts"]) for event in received.events("xray.losses"))


def test_a_full_disk_leaves_memory(otlp_receiver: HttpReceiver, disk: SmallDisk | None, caplog):
    """On a disk without room records stay in memory, a line says so, and they arrive all the same."""
    if disk is None:
        pytest.skip(NOT_RUN)
    disk.fill()
    away(otlp_receiver, spool_dir=str(disk.folder / "spool"))
    record(1)
    wait_until(lambda: "memory is used" in caplog.text, timeout_s=20, what="the note")
    received = back(otlp_receiver)
    assert xray.flush(20)
    assert_once(received, [1])


@pytest.mark.parametrize("obstacle", ["a file", "another's folder"])
def test_a_folder_that_cannot_be_used_leaves_memory(
    otlp_receiver: HttpReceiver, tmp_path: Path, caplog, obstacle
):
    """Where no folder of this user's can be made, records stay in memory and arrive all the same."""
    blocked = tmp_path / "blocked"
    if obstacle == "a file":
        blocked.write_text("")
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder to somebody else")
        blocked.mkdir()
        name = otlp_receiver.endpoint.replace(":", "%3A").replace("/", "%2F")
        (blocked / name).mkdir()
        os.chown(blocked / name, 12345, 12345)
    away(otlp_receiver, spool_dir=str(blocked))
    record(1)
    wait_until(lambda: "memory is used" in caplog.text, timeout_s=20, what="the note")
    received = back(otlp_receiver)
    assert xray.flush(20)
    assert_once(received, [1])


def test_old_records_are_given_up(otlp_receiver: HttpReceiver, spool_dir: Path, monkeypatch):
    """What has waited for a week is not sent any more, and counts as lost."""
    away(otlp_receiver)
    record(1)
    stored()
    monkeypatch.setattr("xray_otel._backlog._MAX_STORED_S", -1.0)
    received = back(otlp_receiver)
    assert xray.flush(20)
    assert _setup.client().pipeline.losses == {
        ("run", "expired"): 2,
        ("step", "expired"): 1,
        ("decisions", "expired"): 1,
    }
    assert received.spans() == []


def test_a_request_that_never_succeeds_does_not_block_others(otlp_receiver: HttpReceiver, spool_dir: Path):
    """A stored request that is always answered 503 is given up after some tries; the rest arrives."""
    away(otlp_receiver)
    record(1)
    stored()
    otlp_receiver.answer = lambda request: 503 if b"text 1" in request.SerializeToString() else None

    def settled() -> bool:
        record(2)
        return xray.flush(0.5)

    wait_until(settled, timeout_s=60, what="the one is given up")
    assert _setup.client().pipeline.losses == {("decisions", "expired"): 1}
    assert [span.name for span in otlp_receiver.received.spans("step")].count("s1") == 1
