"""Acknowledged means committed, whatever happens to the collector."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fixtures import otlp
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.waiting import wait_until

CLIENTS = 4
STEPS_PER_REQUEST = 25
REQUESTS_PER_CLIENT = 120
KILL_AFTER_ACKNOWLEDGED = 40


class Sender:
    """One client that sends its requests in order, each until it is acknowledged."""

    def __init__(self, number: int, url: str) -> None:
        self._number = number
        self._url = url
        self.acknowledged: set[tuple[str, str]] = set()

    def send_all(self, first: int = 0) -> int:
        """Send from request ``first`` on; return the number of the first that failed, or of all."""
        with httpx.Client(base_url=self._url, timeout=10.0, trust_env=False) as client:
            for request in range(first, REQUESTS_PER_CLIENT):
                run_id = f"run-{self._number}-{request // 10}"
                keys = [(run_id, f"{request}.{i}") for i in range(STEPS_PER_REQUEST)]
                try:
                    response = otlp.post(client, otlp.traces([step_span(*key) for key in keys]))
                except httpx.HTTPError:
                    return request
                if response.status_code != 200:
                    return request
                self.acknowledged.update(keys)
        return REQUESTS_PER_CLIENT


def step_span(run_id: str, step_id: str) -> Span:
    """A step with its key sent, so that sending it again is the same step."""
    return otlp.span(
        "filter",
        {
            "xray.span.kind": "step",
            "xray.run.id": run_id,
            "xray.step.id": step_id,
            "xray.step.attempt": 1,
            "xray.pipeline.name": "durable",
            "xray.step.type": "filter",
            "xray.candidates.in": 10,
            "xray.candidates.out": 3,
        },
        trace=run_id,
        identity=f"{run_id}/{step_id}",
    )


def stored_steps(database_url: str) -> list[tuple[str, str]]:
    """(run id, step id) of every row, doubles included."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT runs.run_id, steps.step_id FROM steps JOIN runs USING (run_key, run_day)"
        ).fetchall()


def test_acknowledged_steps_survive_kill_9(database_url: str, start_service: StartService) -> None:
    """After kill -9 of the collector amid four senders, every acknowledged step is there exactly once."""
    collector = start_service("collector")
    senders = [Sender(number, collector.otlp_http) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        sending = [pool.submit(sender.send_all) for sender in senders]
        wait_until(
            lambda: acknowledged_requests(senders) >= KILL_AFTER_ACKNOWLEDGED,
            timeout_s=20.0,
            what="enough requests acknowledged",
            every_s=0.002,
        )
        collector.kill()
        failed_at = [future.result() for future in sending]

    acknowledged = set(itertools.chain.from_iterable(sender.acknowledged for sender in senders))
    assert max(failed_at) < REQUESTS_PER_CLIENT, "the kill came too late to prove anything"
    restarted = restart(start_service, collector)
    after_kill = stored_steps(database_url)
    assert acknowledged <= set(after_kill)

    with ThreadPoolExecutor(CLIENTS) as pool:
        resumed = [
            pool.submit(sender.send_all, first) for sender, first in zip(senders, failed_at, strict=True)
        ]
        assert [future.result() for future in resumed] == [REQUESTS_PER_CLIENT] * CLIENTS
    assert restarted.terminate() == 0

    everything = stored_steps(database_url)
    assert len(everything) == len(set(everything)) == CLIENTS * REQUESTS_PER_CLIENT * STEPS_PER_REQUEST


def acknowledged_requests(senders: list[Sender]) -> int:
    """Requests acknowledged so far, over all senders."""
    return sum(len(sender.acknowledged) for sender in senders) // STEPS_PER_REQUEST


def restart(start_service: StartService, before: ServiceProcess) -> ServiceProcess:
    """A new collector on the ports of the one that was killed."""
    return start_service(
        "collector",
        XRAY_HTTP_PORT=str(httpx.URL(before.otlp_http).port),
        XRAY_GRPC_PORT=before.otlp_grpc.rpartition(":")[2],
    )
