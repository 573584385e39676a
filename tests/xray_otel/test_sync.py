"""``python -m xray_otel sync``: what it sends, what it leaves, and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import xray_otel as xray
from tests.fixtures.otlp_receiver import HttpReceiver
from tests.xray_otel.test_spool import ROOT, Shed, assert_once, away, back, payload, record, segments, stored
from xray_otel._spool import Spool
from xray_otel._sync import main


def test_sync_sends_everything(otlp_receiver: HttpReceiver, spool_dir: Path, monkeypatch, capsys):
    """Exit code 0 when all is sent, and again when there is nothing to send."""
    away(otlp_receiver)
    record(1)
    stored()
    xray.shutdown(0.5)
    received = back(otlp_receiver)
    monkeypatch.setenv("XRAY_ENDPOINT", otlp_receiver.endpoint)
    assert main(["sync"]) == 0
    assert f"4 records sent to {otlp_receiver.endpoint}, 0 lost" in capsys.readouterr().err
    assert_once(received, [1])
    assert segments(spool_dir) == []
    assert main(["sync"]) == 0
    assert "0 records sent" in capsys.readouterr().err


def test_sync_says_what_is_left(otlp_receiver: HttpReceiver, spool_dir: Path, capsys):
    """Exit code 1 when the server takes nothing; the records stay."""
    away(otlp_receiver)
    record(1)
    stored()
    xray.shutdown(0.5)
    before = [path.read_bytes()[16:] for path in segments(spool_dir)]
    assert main(["sync", "--endpoint", otlp_receiver.endpoint, "--timeout", "0.1"]) == 1
    assert f"HTTP status 503 of {otlp_receiver.endpoint}/v1/" in capsys.readouterr().err
    assert [path.read_bytes()[16:] for path in segments(spool_dir)] == before


def test_sync_without_grpc(spool_dir: Path, monkeypatch, capsys):
    """Where gRPC is not installed, the answer is a sentence and wrong usage."""
    monkeypatch.setitem(sys.modules, "xray_otel._transport_grpc", None)
    assert main(["sync", "--protocol", "grpc"]) == 2
    assert "XRAY_PROTOCOL='grpc': http/protobuf or, where" in capsys.readouterr().err


def test_sync_leaves_what_a_running_program_holds(otlp_receiver: HttpReceiver, spool_dir: Path, capsys):
    """What another process is writing stays with it, and the exit code says that it is not sent."""
    name = otlp_receiver.endpoint.replace(":", "%3A").replace("/", "%2F")
    writer = Spool(spool_dir / name, 10**8, Shed())
    writer.append(0, payload(1), ())
    assert main(["sync", "--endpoint", otlp_receiver.endpoint]) == 1
    assert "running programs hold them" in capsys.readouterr().err
    writer.seal()


def test_sync_reports_what_the_server_refuses(otlp_receiver: HttpReceiver, spool_dir: Path, capsys):
    """Records that are refused for good are counted, listed and reported to the server: exit code 1."""
    away(otlp_receiver)
    record(1, candidates=7)
    stored()
    xray.shutdown(0.5)
    otlp_receiver.answer = lambda request: 400 if b"text 1" in request.SerializeToString() else None
    assert main(["sync", "--endpoint", otlp_receiver.endpoint]) == 1
    assert "lost: 1 of class decisions (refused)" in capsys.readouterr().err
    [report] = otlp_receiver.received.events("xray.losses")
    assert report.attributes["xray.run.id"] == "run-1"
    assert report.attributes["xray.losses.what"] == ["decisions"]
    assert report.attributes["xray.losses.counts"] == [7]


def test_sync_wrong_usage(capsys, monkeypatch):
    """Exit code 2, with what is accepted."""
    monkeypatch.setenv("XRAY_ENDPOINT", "nonsense")
    assert main(["sync"]) == 2
    assert "XRAY_ENDPOINT='nonsense'" in capsys.readouterr().err


def test_sync_help():
    """``--help`` lists the command, its options and its exit codes."""
    for arguments, word in ((["--help"], "sync"), (["sync", "--help"], "Exit code: 0 all sent")):
        result = subprocess.run(
            [sys.executable, "-m", "xray_otel", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert word in result.stdout
