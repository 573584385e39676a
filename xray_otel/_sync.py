"""``python -m xray_otel sync``: sends what programs of this user left on disk."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from opentelemetry.sdk.resources import Resource

from xray_otel import semconv
from xray_otel._buffer import Buffer, Cause, Event, Part, rejected_parts
from xray_otel._client import connect
from xray_otel._halves import send_in_parts
from xray_otel._otlp import logs_request
from xray_otel._segments import Frame, Segment
from xray_otel._spool import Spool, base_folder, endpoint_of, open_spool
from xray_otel._transport import Answer, Payload, Signal, Transport
from xray_otel._words import counted
from xray_otel.errors import SettingsError
from xray_otel.settings import Settings

ALL_SENT, NOT_ALL_SENT, BAD_USAGE = 0, 1, 2
"""Exit codes."""

_PAUSE_S = (0.25, 5.0)
_LINE_S = 2.0
_BAR_S = 0.1
_BAR_WIDTH = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_env(endpoint=options.endpoint, protocol=options.protocol, offline="buffer")
        return sync(settings, options.timeout, Progress(sys.stderr))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return BAD_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xray_otel", description="X-Ray's client, as far as it can be called by hand."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "sync",
        help="send what programs kept on disk while the server was away",
        description="Sends what programs of this user kept on disk while the server was away. They do so by "
        "themselves when they next run; this is for those that do not, or not soon enough. "
        "Settings are read from XRAY_*.",
        epilog="Exit code: 0 all sent, 1 something is left or was lost, 2 wrong usage.",
    )
    command.add_argument("--endpoint", help="URL of the collector (default: XRAY_ENDPOINT)")
    command.add_argument("--protocol", choices=("http/protobuf", "grpc"), help="default: XRAY_PROTOCOL")
    command.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="give up when the server takes nothing for so long (default: 30)",
    )
    return parser


class Outcome(NamedTuple):
    """What a call has done so far, in bytes of files and in records."""

    total_bytes: int
    sent_bytes: int = 0
    sent: int = 0
    lost: int = 0


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar = out.isatty()
        self._next_s = 0.0

    def show(self, outcome: Outcome, note: str = "") -> None:
        """Says how far it is, if it is time to."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_BAR_S if self._bar else _LINE_S)
        share = outcome.sent_bytes / outcome.total_bytes if outcome.total_bytes else 1.0
        if not self._bar:
            self.say(f"{share:.0%} of {_size(outcome.total_bytes)}, {counted(outcome.sent, 'record')}{note}")
            return
        done = round(share * _BAR_WIDTH)
        bar = "█" * done + "░" * (_BAR_WIDTH - done)
        self._out.write(f"\r\x1b[K{bar} {share:4.0%} {counted(outcome.sent, 'record')}{note}")
        self._out.flush()

    def say(self, line: str) -> None:
        """A whole line, in place of the bar."""
        self._out.write(f"\r\x1b[K{line}\n" if self._bar else f"{line}\n")
        self._out.flush()


def sync(settings: Settings, timeout_s: float, progress: Progress) -> int:
    """Sends the spool of the settings' endpoint; returns the exit code."""
    losses = Buffer(0)
    spool = open_spool(settings, losses.lose)
    if spool is None:
        progress.say("there is no folder for a spool: set XRAY_SPOOL_DIR")
        return BAD_USAGE
    sender = _Sender(settings, spool, losses, timeout_s, progress)
    try:
        sender.send_all()
    except OSError as error:
        progress.say(f"{spool.folder}: {error}")
        return NOT_ALL_SENT
    finally:
        sender.close()
    outcome = sender.outcome
    left = spool.stored()
    progress.say(f"{counted(outcome.sent, 'record')} sent to {settings.endpoint}, {outcome.lost} lost")
    for (name, cause), count in sorted(losses.losses.items()):
        progress.say(f"  lost: {count} of class {name} ({cause})")
    if left:
        size = _size(sum(one.size_bytes for one in left))
        progress.say(f"{len(left)} files ({size}) are left in {spool.folder}: {sender.why_left}")
    _tell_others(settings, spool, progress)
    return NOT_ALL_SENT if left or outcome.lost else ALL_SENT


def _tell_others(settings: Settings, spool: Spool, progress: Progress) -> None:
    base = base_folder(settings)
    if base is None or not base.is_dir():
        return
    for folder in sorted(base.iterdir()):
        if folder.is_dir() and folder != spool.folder:
            count = len(Spool(folder, sys.maxsize, Buffer(0).lose).stored())
            if count:
                progress.say(
                    f"{count} files for another endpoint wait, too: --endpoint {endpoint_of(folder)}"
                )


class _Sender:
    def __init__(
        self, settings: Settings, spool: Spool, losses: Buffer, timeout_s: float, progress: Progress
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._losses = losses
        self._timeout_s = timeout_s
        self._progress = progress
        self._transport: Transport = connect(settings)
        self.outcome = Outcome(sum(one.size_bytes for one in spool.stored()))
        self.why_left = "running programs hold them, and will send them"

    def send_all(self) -> None:
        """Ends when all is sent that no running program holds, or the server takes nothing any more."""
        for segment in self._spool.claim():
            try:
                for frame in segment.frames():
                    if not self._send(frame):
                        return
                    segment.acknowledge(frame)
                segment.remove()
                self._count_bytes(segment)
            finally:
                segment.close()
        self._report()

    def _count_bytes(self, segment: Segment) -> None:
        self.outcome = self.outcome._replace(sent_bytes=self.outcome.sent_bytes + segment.size_bytes)

    def _send(self, frame: Frame) -> bool:
        if frame.is_damaged:
            self._losses.lose(frame.parts, Cause.DAMAGED)
            lost = sum(part.records for part in frame.parts)
            self.outcome = self.outcome._replace(lost=self.outcome.lost + lost)
            return True
        answers = send_in_parts(self._insist, frame.payload, frame.parts)
        last = answers[-1].answer
        if last.retryable:
            self.why_left = f"{self._settings.endpoint} takes nothing: {last.message}"
            return False
        for one in answers:
            self._count(one.answer, one.parts)
        self._progress.show(self.outcome)
        return True

    def _count(self, answer: Answer, parts: Sequence[Part]) -> None:
        records = sum(part.records for part in parts)
        if answer.delivered:
            lost = min(answer.rejected, records)
            cause = Cause.REJECTED
        else:
            lost, cause = records, Cause.REFUSED
        if lost:
            self._lose(parts, lost, cause)
        self.outcome = self.outcome._replace(
            sent=self.outcome.sent + records - lost, lost=self.outcome.lost + lost
        )

    def _lose(self, parts: Sequence[Part], lost: int, cause: str) -> None:
        self._losses.lose(rejected_parts(parts, lost) if cause == Cause.REJECTED else parts, cause)

    def _insist(self, payload: Payload) -> Answer:
        """Tries until the server answers for good, or has taken nothing for the time that was given."""
        deadline_s = time.monotonic() + self._timeout_s
        pause_s, longest_s = _PAUSE_S
        while True:
            answer = self._transport.send(payload, self._settings.export_timeout_s)
            left_s = deadline_s - time.monotonic()
            if not answer.retryable or left_s <= 0:
                return answer
            self._progress.show(self.outcome, f"; {self._settings.endpoint} is away")
            time.sleep(min(left_s, max(pause_s, answer.retry_after_s or 0.0)))
            pause_s = min(longest_s, 2 * pause_s)

    def _report(self) -> None:
        """Tells the server what it will not get."""
        name = self._settings.service_name
        resource = Resource({semconv.SERVICE_NAME: name}) if name else Resource.get_empty()
        reports = self._losses.ledger.take()
        if reports:
            events = [Event(semconv.EVENT_LOSSES, time.time_ns(), report, resource) for report in reports]
            self._insist(Payload(Signal.LOGS, logs_request(events).SerializeToString()))

    def close(self) -> None:
        self._transport.close()


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
