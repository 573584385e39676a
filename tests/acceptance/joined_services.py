"""
Programs of one run: ``ranking`` is a service over HTTP, ``shop`` calls it and two pools of its own.

Neither is told of the other by X-Ray: requests carry what OpenTelemetry's propagators put in.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from opentelemetry import context as otel_context
from opentelemetry import propagate

import xray_otel as xray


def ranking_app() -> FastAPI:
    """A service that knows of no run, with what an instrumentation of OpenTelemetry's does to requests."""
    app = FastAPI()

    @app.middleware("http")
    async def extract(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        token = otel_context.attach(propagate.extract(request.headers))
        try:
            return await call_next(request)
        finally:
            otel_context.detach(token)

    @app.get("/rank")
    async def rank() -> list[str]:
        with xray.step("rank", type="rank") as step, xray.step("rescore"):
            step.score("b", 0.9)
        return ["b"]

    @app.get("/warm")
    def warm() -> None:  # in a thread of the framework's
        with xray.step("warm"):
            pass

    return app


def judge(item: str) -> str:
    with xray.step(f"judge-{item}", type="llm") as step:
        step.accept(item)
    return item


def shop(url: str, run_id: str) -> None:
    """One run over four processes and a thread pool."""
    with xray.run("shop", run_id=run_id):
        with xray.step("search", type="search") as step:
            step.accept("a")
            step.accept("b")
        for path in ("rank", "warm"):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            httpx.get(f"{url}/{path}", headers=headers, trust_env=False, timeout=60).raise_for_status()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(xray.carry(judge), "thread").result()
        for method in ("spawn", "fork"):
            with ProcessPoolExecutor(1, mp_context=get_context(method)) as processes:
                processes.submit(xray.carry(judge), method).result(60)
        with xray.step("select", type="select") as step:
            step.select("b")


if __name__ == "__main__":
    if sys.argv[1] == "ranking":
        uvicorn.run(ranking_app(), port=int(sys.argv[2]), log_level="warning")
    else:
        shop(*sys.argv[2:])
