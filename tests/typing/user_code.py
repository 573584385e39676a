"""Code as users write it; it only has to type-check under mypy's strict mode."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import xray_otel as xray
from xray_otel import testing


@dataclass
class Product:
    id: str
    price: float | None


def affordable(product: Product) -> bool | xray.Reject | xray.Accept:
    if product.price is None:
        return xray.Reject("price_unknown", value=xray.MISSING)
    return xray.Accept("fits", value=product.price, threshold=50.0)


@xray.step(type="search")
def find(title: str) -> list[Product]:
    return [Product(title, 1.0)]


@xray.step("later", type="llm")
async def ask(product: Product) -> str:
    return product.id


@xray.run("competitors", version="v3")
async def pipeline(title: str) -> str:
    products: list[Product] = find(title)
    async with xray.step("filter", type="filter", top_k=3) as step:
        products = step.filter(products, affordable)
    with xray.step("rank", type="rank", parents=step) as step:
        products = step.rank(products, score=lambda product: product.price, top_k=10, key="id")
    with xray.step("select", type="select") as step:
        best: Product | None = step.select_best(products, score=lambda product: product.price)
    run = xray.current_run()
    if run is not None:
        run.outcome("matched" if best else "none")
    return await ask(products[0])


def configured() -> bool:
    xray.configure(endpoint="http://127.0.0.1:4318", capture="sampled", mode="best_effort", protocol="grpc")
    with xray.run("r", tags={"market": "US"}) as run, run.step("s") as step:
        run_id: str = run.run_id
        step.counts(in_=5000, out=30)
        step.record([run_id], "K", scores=[0.5], thresholds=0.1)
    return xray.flush(timeout_s=1.0) and xray.shutdown()


@xray.step(type="search")
def pages(count: int) -> Iterator[int]:
    yield from range(count)


def crossing(headers: dict[str, str], pool: ThreadPoolExecutor) -> str:
    verdict: bool | xray.Reject | xray.Accept = pool.submit(
        xray.carry(affordable), Product("a", 1.0)
    ).result()
    xray.inject(headers)
    with xray.join_run(headers) as run, run.step("s"):
        total: int = sum(pages(3))
    return f"{run.run_id} {verdict} {total}"


def later(reviewed_at: datetime) -> None:
    xray.outcome("run-1", "bad_match", True, item=Product("a", 1.0), source="support", time=reviewed_at)
    xray.outcome("run-1", "refund", withdrawn=True)


def existing(provider: TracerProvider) -> None:
    provider.add_span_processor(xray.XRaySpanProcessor())
    provider.add_span_processor(BatchSpanProcessor(xray.XRaySpanExporter()))


def tested() -> None:
    with testing.capture(level="sampled", mode="best_effort") as captured:
        pass
    step: testing.RecordedStep = captured.run("competitors").step("filter", attempt=1)
    decision: testing.Decision = step.decision("a")
    assert decision.reason == "too_dear"
    assert step.reasons["too_dear"] == 1
