"""Several collector processes behind the same ports."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.fixtures.services import ROOT, ServiceProcess, StartService, environment
from tests.fixtures.traffic import Shape, check, traffic
from tests.fixtures.waiting import wait_until

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SHAPE = Shape(steps=5, candidates=10, artifact_bytes=100)


def children(service: ServiceProcess) -> list[psutil.Process]:
    """The collector processes that run."""
    found = psutil.Process(service.pid).children()
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]


def writers(service: ServiceProcess) -> set[int]:
    """The collector processes that have connections of senders."""
    port = httpx.URL(service.otlp_http).port
    return {
        child.pid
        for child in children(service)
        for connection in child.net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
    }


def test_processes_share_the_ports(start_service: StartService):
    """Both processes take connections; one that is killed is replaced; all that was acknowledged is there."""
    service = start_service("up", XRAY_PROCESSES="2")
    assert len(children(service)) == 2
    url = httpx.URL(service.otlp_http)
    assert url.host
    assert url.port
    opened = [socket.create_connection((url.host, url.port)) for _ in range(64)]
    wait_until(lambda: len(writers(service)) == 2, timeout_s=20.0, what="both have connections")
    for one in opened:
        one.close()
    urls = (service.otlp_http, service.otlp_grpc)
    with traffic(4, lambda: urls, SHAPE) as senders:
        wait_until(lambda: acknowledged_by_all(senders, 0), timeout_s=60.0, what="acknowledgements")
        victim = children(service)[0]
        victim.kill()
        wait_until(
            lambda: len(children(service)) == 2 and victim.pid not in [one.pid for one in children(service)],
            timeout_s=60.0,
            what="another in its place",
        )
        before = min(len(sender.acknowledged.steps) for sender in senders)
        wait_until(lambda: acknowledged_by_all(senders, before), timeout_s=60.0, what="more of them")
    assert service.get("/steps")["items"]
    assert service.terminate() == 0, service.stderr
    assert "ended by itself" in service.stderr
    check(senders, service.database_url)


def acknowledged_by_all(senders, before: int) -> bool:
    """Whether each sender has more than so many steps acknowledged."""
    return min(len(sender.acknowledged.steps) for sender in senders) > before


def test_one_page_of_metrics_for_all_processes(start_service: StartService):
    """Whichever process is asked, the page counts what all have done."""
    service = start_service("collector", XRAY_PROCESSES="2")
    # A connection each, so that the kernel spreads them.
    for _ in range(16):
        answer = httpx.post(f"{service.otlp_http}/v1/traces", headers=PROTOBUF, timeout=20.0, trust_env=False)
        assert answer.status_code == 200
    for _ in range(8):
        page = httpx.get(f"{service.otlp_http}/metrics", timeout=20.0, trust_env=False).text
        assert 'xray_collector_requests_total{outcome="stored"} 16.0' in page


def test_processes_end_with_their_parent(start_service: StartService):
    """kill -9 of the parent leaves no process behind."""
    service = start_service("collector", XRAY_PROCESSES="2")
    found = children(service)
    service.kill()
    gone, alive = psutil.wait_procs(found, timeout=30.0)
    assert (len(gone), alive) == (2, [])


def test_processes_that_end_again_and_again_end_the_server(start_service: StartService):
    """A process that cannot live is not started for ever: the server says so and ends with 1."""
    service = start_service("collector", XRAY_PROCESSES="2")

    def kill_all() -> bool:
        with suppress(psutil.NoSuchProcess):
            for child in children(service):
                child.kill()
        return "again and again" in service.stderr

    wait_until(kill_all, timeout_s=60.0, what="the server gives up", every_s=0.2)
    assert service.join() == 1
    assert "again and again" in service.stderr.splitlines()[-1]


def test_a_restart_need_not_wait_for_old_connections(start_service: StartService):
    """A port whose last server closed a connection first, so that the kernel keeps it, is taken again."""
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as sender:
            before.accept()[0].close()
            assert sender.recv(1) == b""
    service = start_service("collector", XRAY_PROCESSES="2", XRAY_GRPC_PORT=str(port))
    assert service.otlp_grpc.endswith(f":{port}")


@pytest.mark.parametrize("variable", ["XRAY_GRPC_PORT", "XRAY_HTTP_PORT"])
def test_port_in_use_names_the_setting(database_url: str, variable: str):
    """Although our processes share ports, they share them with nobody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = str(taken.getsockname()[1])
        ports = {"XRAY_GRPC_PORT": "0", "XRAY_HTTP_PORT": "0", variable: port}
        done = subprocess.run(
            [sys.executable, "-m", "cli", "collector"],
            cwd=ROOT,
            env=environment({"XRAY_DATABASE_URL": database_url, "XRAY_PROCESSES": "2", **ports}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert f"set {variable} to another port" in done.stderr
