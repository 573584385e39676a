"""Order and number of deliveries do not show in the tables."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fixtures import otlp
from tests.fixtures.services import ServiceProcess, StartService
from tests.fixtures.tables import Tables, dump_tables

RUNS = 12
STEP_NS = 10_000_000


def deliveries(run: int) -> Iterator[otlp.Request]:
    """Everything that one run sends, one request each, in the order in which it happens."""
    run_id = f"run-{run}"
    identity = {"xray.run.id": run_id, "xray.pipeline.name": "ordered", "xray.pipeline.version": "v2"}
    start_ns = otlp.BASE_NS + run * 1_000_000_000
    started = {**identity, "xray.run.entity": f"P{run}", "xray.capture.level": "full"}
    yield otlp.logs([otlp.event("xray.run.start", started, trace=run_id, at_ns=start_ns)])
    for index in range(3):
        # The second step of every third run fails once and is tried again.
        attempts = 2 if index == 1 and run % 3 == 0 else 1
        for attempt in range(1, attempts + 1):
            yield from step_deliveries(run_id, identity, index, attempt, attempt < attempts, start_ns)
    if run % 4 == 0:
        # A resumed run ends twice: once crashed, later completed.
        yield otlp.traces([run_span(run_id, identity, "first", start_ns, 5 * STEP_NS, error="worker lost")])
    yield otlp.traces([run_span(run_id, identity, "last", start_ns, 9 * STEP_NS)])


def run_span(
    run_id: str, identity: dict[str, str], name: str, start_ns: int, took_ns: int, error: str | None = None
) -> Span:
    """A span of the run itself."""
    return otlp.span(
        "ordered",
        {**identity, "xray.span.kind": "run", "xray.run.outcome": name},
        trace=run_id,
        identity=f"{run_id}/{name}",
        start_ns=start_ns,
        end_ns=start_ns + took_ns,
        error=error,
    )


def step_deliveries(
    run_id: str, identity: dict[str, str], index: int, attempt: int, failed: bool, start_ns: int
) -> Iterator[otlp.Request]:
    """The span of one execution of a step, then its decisions."""
    key = {**identity, "xray.step.id": f"step-{index}", "xray.step.attempt": attempt}
    at_ns = start_ns + (2 * index + attempt) * STEP_NS
    span_name = f"{run_id}/{index}/{attempt}"
    attributes = {
        **key,
        "xray.span.kind": "step",
        "xray.step.type": ("search", "filter", "rank")[index],
        "xray.step.index": index,
        "xray.candidates.in": 6,
        "xray.candidates.out": 6 - index,
        "xray.decisions.recorded": 6,
        "xray.decisions.chunks": 1,
    }
    yield otlp.traces(
        [
            otlp.span(
                f"step {index}",
                attributes,
                trace=run_id,
                identity=span_name,
                start_ns=at_ns,
                end_ns=at_ns + STEP_NS,
                error="timeout" if failed else None,
            )
        ]
    )
    columns = {"v": 1, "n": 6, "item": [f"i{n}" for n in range(6)], "verdict": "KKKKKK"[index:] + "E" * index}
    sent = {**key, **otlp.decisions(columns)}
    yield otlp.logs([otlp.event("xray.step.decisions", sent, trace=run_id, within=span_name, at_ns=at_ns)])


def send(url: str, requests: Sequence[otlp.Request]) -> None:
    """Send one after the other; each must be acknowledged."""
    with httpx.Client(base_url=url, timeout=20.0, trust_env=False) as client:
        for request in requests:
            response = otlp.post(client, request)
            assert response.status_code == 200, response.text


@pytest.fixture
def ordered(start_service: StartService, new_database: Callable[[], str]) -> Tables:
    """The tables after one delivery of everything in its natural order."""
    url = new_database()
    collector = start_service("collector", XRAY_DATABASE_URL=url)
    send(collector.otlp_http, [request for run in range(RUNS) for request in deliveries(run)])
    assert collector.terminate() == 0
    tables = dump_tables(url)
    assert len(tables["runs"]) == RUNS
    return tables


def shuffled_twice(seed: int) -> list[otlp.Request]:
    """Every request twice, in an order that has nothing to do with what happened."""
    requests = [request for run in range(RUNS) for request in deliveries(run)] * 2
    random.Random(seed).shuffle(requests)
    return requests


def reversed_twice(_seed: int) -> list[otlp.Request]:
    """Every request twice, decisions before their span and children before their run."""
    return [request for run in range(RUNS) for request in deliveries(run)][::-1] * 2


@pytest.mark.parametrize("order", [shuffled_twice, reversed_twice])
def test_doubled_and_disordered(
    ordered: Tables,
    database_url: str,
    start_service: StartService,
    order: Callable[[int], list[otlp.Request]],
) -> None:
    """Everything twice and out of order gives the tables of the ordered single delivery."""
    collector = start_service("collector")
    send(collector.otlp_http, order(7))
    assert collector.terminate() == 0
    assert dump_tables(database_url) == ordered


def test_two_collectors_at_once(ordered: Tables, database_url: str, start_service: StartService) -> None:
    """Two collectors that are sent everything at the same time, each in its own order, agree with one."""
    collectors: list[ServiceProcess] = [start_service("collector") for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        sending = [
            pool.submit(send, collectors[seed % 2].otlp_http, shuffled_twice(seed)) for seed in range(4)
        ]
        for future in sending:
            future.result()
    assert [collector.terminate() for collector in collectors] == [0, 0]
    assert dump_tables(database_url) == ordered
