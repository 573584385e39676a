"""Questions about whole runs are answered in turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from api.settings import ApiSettings
from api.turns import Turns
from store.queries.types import RunDetail
from store.reader import Reader
from store.settings import load
from tests.fixtures.reading import RestServer, Shelf, run_copy, step_copy
from tests.fixtures.waiting import wait_until


class SlowReader(Reader):
    """Reads a run's detail when it is let, and counts who reads."""

    def begin(self) -> None:
        self.reading = 0
        self.go_on = threading.Event()

    def run_detail(self, run_id: str) -> RunDetail | None:
        self.reading += 1
        self.go_on.wait(60)
        return super().run_detail(run_id)


@pytest.fixture
def slow(database_url: str, shelf: Shelf) -> Iterator[SlowReader]:
    """A reader of one run."""
    shelf.put(run_copy("r"), step_copy("r", "s1"))
    reader = SlowReader.open(database_url)
    assert isinstance(reader, SlowReader)
    reader.begin()
    yield reader
    reader.go_on.set()
    reader.close()


def test_more_than_may_wait_are_refused_and_other_questions_go_on(slow: SlowReader) -> None:
    """One is answered, one waits, one is told to come again; lists are answered meanwhile."""
    app = create_app(load(ApiSettings, {}), slow)
    app.state.turns = Turns(at_once=1, waiting=1, wait_s=60)
    server = RestServer(app)
    statuses: list[int] = []

    def ask(path: str) -> None:
        answer = httpx.get(f"{server.url}/api/v1/runs/r/{path}", timeout=60, trust_env=False)
        statuses.append(answer.status_code)

    asking = [threading.Thread(target=ask, args=(path,)) for path in ("explain", "audit")]
    try:
        with httpx.Client(base_url=f"{server.url}/api/v1", timeout=60, trust_env=False) as client:
            asking[0].start()
            wait_until(lambda: slow.reading == 1, timeout_s=60, what="the first question to be read")
            asking[1].start()
            wait_until(lambda: app.state.turns.waiting == 1, timeout_s=60, what="the second to wait")
            refused = client.get("/runs/r/diff/r")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
            assert refused.headers["Retry-After"] == "1"
            assert client.get("/steps").status_code == 200
            assert slow.reading == 1
            slow.go_on.set()
            for thread in asking:
                thread.join()
            assert statuses == [200, 200]
            assert client.get("/runs/r/diff/r").status_code == 200
    finally:
        slow.go_on.set()
        server.stop()


def test_who_waits_too_long_is_told(slow: SlowReader) -> None:
    """A turn that does not come in time is 503."""
    app = create_app(load(ApiSettings, {}), slow)
    app.state.turns = Turns(at_once=1, wait_s=0.05)
    server = RestServer(app)
    first = threading.Thread(
        target=lambda: httpx.get(f"{server.url}/api/v1/runs/r/explain", timeout=60, trust_env=False)
    )
    try:
        first.start()
        wait_until(lambda: slow.reading == 1, timeout_s=60, what="the first question to be read")
        answer = httpx.get(f"{server.url}/api/v1/runs/r/audit", timeout=60, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    finally:
        slow.go_on.set()
        first.join()
        server.stop()
