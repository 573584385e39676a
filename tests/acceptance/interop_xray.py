"""
The pipeline of ``interop_pipeline.json`` as a user of xray_otel writes it.

Usage: ``interop_xray.py ENDPOINT grpc|http/protobuf RUN_ID``. Ends with 0 when all was delivered.
"""

from __future__ import annotations

import sys

import xray_otel as xray

PRICES = {"a": 12.5, "b": 99.5, "c": 20.25}
MAX_PRICE = 50.0


def pipeline(run_id: str) -> None:
    """Search, filter by price, select."""
    with xray.run(
        "interop",
        version="v1",
        entity="P1",
        input={"query": "phone case"},
        tags={"market": "US"},
        run_id=run_id,
    ) as run:
        with xray.step(
            "search_catalogue", type="search", why="the catalogue's own index", step_id="search"
        ) as step:
            step.sources({"shard-1": 2, "shard-2": 1})
            step.counts(out=3)
        with xray.step(
            "filter_by_price", type="filter", reasoning={"max_price": 50}, step_id="filter"
        ) as step:
            step.record(
                list(PRICES),
                "KEK",
                reasons=[None, "price_too_high", None],
                values=list(PRICES.values()),
                thresholds=MAX_PRICE,
            )
        with xray.step("select_best", type="select", step_id="select") as step:
            step.not_select("a", score=0.25)
            step.select("c", score=0.875)
            step.metric("recall", 0.75)
        run.set_output({"winner": "c"})
        run.outcome("matched", reason="best score")


if __name__ == "__main__":
    _endpoint, _protocol, _run_id = sys.argv[1:]
    xray.configure(
        endpoint=_endpoint,
        protocol="grpc" if _protocol == "grpc" else "http/protobuf",
        service_name=f"interop-{_run_id}",
        capture="full",
    )
    pipeline(_run_id)
    sys.exit(0 if xray.shutdown(timeout_s=10.0) else 1)
