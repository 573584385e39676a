"""What the API counts about itself: by route, never by what was asked for."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.reading import Shelf, run_copy
from tests.fixtures.waiting import wait_until

RUN = "/api/v1/runs/{run_id}"


def counted(rest: httpx.Client) -> dict[tuple[str, str], float]:
    """Requests by route and status."""
    page = rest.get("/metrics").text
    return {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "xray_api_requests_total"
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_requests_are_counted_by_route(shelf: Shelf, rest: httpx.Client, method: str) -> None:
    """A HEAD is counted as its GET is; no id and no made-up path becomes a label."""
    shelf.put(run_copy("r-1"))
    assert rest.request(method, "/api/v1/runs/r-1").status_code == 200
    assert rest.request(method, "/api/v1/runs/r-2").status_code == 404
    assert rest.request(method, "/api/v1/nowhere/r-3").status_code == 404
    assert rest.request("PATCH", "/api/v1/runs/r-4").status_code == 405
    expected = {(RUN, "200"): 1.0, (RUN, "404"): 1.0, ("(none)", "404"): 1.0, (RUN, "405"): 1.0}
    # A request is counted once its answer is out: its sender may be quicker.
    wait_until(
        lambda: {key: n for key, n in counted(rest).items() if key[0] != "/metrics"} == expected,
        timeout_s=20.0,
        what=f"the counts are {expected}",
    )
