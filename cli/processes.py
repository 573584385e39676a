"""
Several collector processes behind the same ports: started, watched, replaced, stopped.

Each is ``xray collector`` itself, told to share its ports; the kernel gives every new connection
to one of them (SO_REUSEPORT, socket(7)).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from cli.errors import Failure
from cli.progress import Say
from store.metrics_page import MULTIPROCESS_FOLDER

_ROOT = str(Path(__file__).resolve().parents[1])
_START_DEADLINE_S = 60.0
MAX_RESTARTS = 5
RESTART_WINDOW_S = 60.0


class CollectorProcesses:
    """``start`` returns when all answer; ``broken`` replaces those that ended; from one thread."""

    def __init__(self, count: int, host: str, environ: Mapping[str, str], say: Say) -> None:
        """environ: the settings of each; the ports in it may be 0."""
        self._count = count
        self._host = host
        self._environ = dict(environ)
        self._say = say
        self._running: list[_Child] = []
        self._restarts: deque[float] = deque()
        self._reserved = ExitStack()
        # Whichever of them is asked for its metrics shows those of all.
        self._metrics = self._reserved.enter_context(tempfile.TemporaryDirectory(prefix="xray-metrics-"))
        self._environ[MULTIPROCESS_FOLDER] = self._metrics

    def start(self) -> tuple[int, int]:
        """Start them and return the ports of gRPC and HTTP. Raises ``Failure``."""
        ports = [self._reserve(name) for name in ("XRAY_GRPC_PORT", "XRAY_HTTP_PORT")]
        self._running = [_Child(self._environ) for _ in range(self._count)]
        for child in self._running:
            child.wait_ready()
        return ports[0], ports[1]

    def broken(self) -> bool:
        """Replace processes that ended by themselves; True when that happens too often."""
        for number, child in enumerate(self._running):
            code = child.process.poll()
            if code is None:
                continue
            now = time.monotonic()
            while self._restarts and self._restarts[0] < now - RESTART_WINDOW_S:
                self._restarts.popleft()
            if len(self._restarts) >= MAX_RESTARTS:
                return True
            self._restarts.append(now)
            self._say(f"collector  a process ended by itself (exit code {code}); another takes its place")
            child.close()
            mark_process_dead(child.process.pid, self._metrics)  # type: ignore[no-untyped-call]
            # Nobody waits for it to answer: senders reach the others meanwhile.
            self._running[number] = _Child(self._environ)
        return False

    def stop(self, deadline_s: float) -> bool:
        """Stop all of them gracefully; return whether each has written what it had taken in."""
        for child in self._running:
            child.process.terminate()
        until = time.monotonic() + deadline_s
        complete = [child.join(max(0.1, until - time.monotonic())) for child in self._running]
        self._running = []
        self._reserved.close()
        return all(complete)

    def _reserve(self, name: str) -> int:
        """Bind the port without listening, so that all get the same and nobody else takes it."""
        asked = int(self._environ[name])
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, asked, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # Without SO_REUSEPORT first: another program of ours on this port would go unnoticed.
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            found = self._reserved.enter_context(socket.socket(family, kind, protocol))
            # Else connections that a server before us closed would keep the port for a minute.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            found.bind(address)
        except OSError as error:
            raise Failure(
                f"port {asked} on {self._host} is in use or cannot be opened; stop the other program or set "
                f"{name} to another port (0 = any free port)"
            ) from error
        port = int(found.getsockname()[1])
        self._environ[name] = str(port)
        return port


class _Child:
    """One process, which ends with this one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # This very code, wherever it was started from.
        path = os.pathsep.join(filter(None, [_ROOT, environ.get("PYTHONPATH", "")]))
        # A session of its own: Ctrl-C must reach us alone, who stop it in order.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "collector", "--json", "--with-parent", "--share-ports"],
            env={**environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Return when it answers. Raises ``Failure``."""
        assert self.process.stdout is not None  # as asked for
        said, _, _ = select.select([self.process.stdout], [], [], _START_DEADLINE_S)
        if not said or not self.process.stdout.readline():
            raise Failure("a collector process did not start; the reason stands in the lines above")

    def join(self, deadline_s: float) -> bool:
        """Wait for its end; kill it when that takes too long. Whether it had written all."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.close()
        # Ended by the signal itself: it had not come as far as to take anything in.
        return code in (0, -signal.SIGTERM)

    def close(self) -> None:
        """Release the pipe of a process that ended."""
        if self.process.stdout is not None:
            self.process.stdout.close()
