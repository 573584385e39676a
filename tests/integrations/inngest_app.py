"""
Inngest functions behind FastAPI, with X-Ray's middleware: ``python inngest_app.py PORT``.

Runs in the environment of the engines. ``POST /flush`` delivers what was recorded and tells
how often each handler has run since the last time.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

os.environ["INNGEST_DEV"] = "1"

import fastapi
import inngest
import inngest.fast_api
import uvicorn

import xray_otel as xray
from xray_otel.integrations.inngest import XRayMiddleware, close_cancelled_runs

quiet = logging.getLogger("quiet")
quiet.setLevel(logging.CRITICAL + 1)
runs: Counter[str] = Counter()
middleware = functools.partial(
    XRayMiddleware, types={"search": "search"}, describe=lambda ctx: {"entity": ctx.event.data.get("product")}
)
client = inngest.Inngest(
    app_id="app",
    is_production=False,
    logger=quiet,
    middleware=[middleware],
    event_api_base_url=os.environ.get("EVENT_API", "http://127.0.0.1:9"),
)


def handler(
    name: str, fails: int = 0, error: Callable[[str], Exception] = ValueError
) -> Callable[..., Awaitable[Any]]:
    """A step's function that fails the first few times."""

    async def work() -> dict[str, int]:
        runs[name] += 1
        if runs[name] <= fails:
            raise error(f"{name} fails")
        return {"n": runs[name]}

    return work


@xray.step(type="filter")
async def cheap_ones(prices: list[int]) -> list[int]:
    """A decorated function: its step is the engine's."""
    runs["filter"] += 1
    return xray.current_step().filter(prices, lambda price: price <= 2 or xray.Reject("too_expensive"))


def function(name: str, **options: Any) -> Any:
    trigger = inngest.TriggerEvent(event=f"t/{name}")
    return client.create_function(fn_id=name, trigger=trigger, **options)


@function("full")
async def full(ctx: inngest.Context) -> str:
    await ctx.step.run("keywords", handler("keywords"))
    await ctx.step.run("search", handler("search", fails=1))
    for _ in range(3):
        await ctx.step.run("score", handler("score"))
    await ctx.step.sleep("nap", datetime.timedelta(hours=3))
    await ctx.group.parallel(
        (
            lambda: ctx.step.run("p", handler("p")),
            lambda: ctx.step.run("p", handler("p")),
            lambda: ctx.step.run("q", handler("q")),
        )
    )
    await ctx.step.run("select", handler("select"))
    return "done"


@function("decorated")
async def decorated(ctx: inngest.Context) -> list[int]:
    kept = await ctx.step.run("cheap", cheap_ones, [1, 2, 3])
    again = await ctx.step.run("partial", functools.partial(cheap_ones, kept))
    return await ctx.step.run("lambda", lambda: cheap_ones(again))


@function("nonretriable")
async def nonretriable(ctx: inngest.Context) -> None:
    await ctx.step.run("a", handler("a"))
    await ctx.step.run("b", handler("b", 99, inngest.NonRetriableError))


async def clean_up(ctx: inngest.Context) -> None:
    await ctx.step.run("a", handler("cleanup"))


@function("exhausted", retries=2, on_failure=clean_up)
async def exhausted(ctx: inngest.Context) -> None:
    await ctx.step.run("a", handler("exhausted", 99))


@function("between")
async def between(ctx: inngest.Context) -> int:
    await ctx.step.run("a", handler("between"))
    runs["body"] += 1
    if runs["body"] <= 2:
        raise RuntimeError("between steps")
    return 1


@function("caught")
async def caught(ctx: inngest.Context) -> int:
    with contextlib.suppress(inngest.NonRetriableError):
        await ctx.step.run("risky", handler("risky", 99, inngest.NonRetriableError))
    await ctx.step.run("x", handler("x"))
    await ctx.step.run("y", handler("y"))
    return 1


@function("caught_step")
async def caught_step(ctx: inngest.Context) -> int:
    with contextlib.suppress(inngest.StepError):
        await ctx.step.run("risky", handler("risky", 99))
    await ctx.step.run("x", handler("x"))
    return 1


@function("retry_after")
async def retry_after(ctx: inngest.Context) -> None:
    await ctx.step.run("a", handler("a", 1, lambda message: inngest.RetryAfterError(message, 1000)))


@function("sends")
async def sends(ctx: inngest.Context) -> None:
    await ctx.step.send_event("tell", inngest.Event(name="t/other", data={}))


@function("sync")
def sync(ctx: inngest.ContextSync) -> int:
    def work() -> int:
        runs["s"] += 1
        with xray.step("inside"):
            return runs["s"]

    ctx.step.run("s", work)
    ctx.step.run("s", work)
    ctx.step.sleep("nap", 5000)
    return 2


app = fastapi.FastAPI()
functions = [full, decorated, nonretriable, exhausted, between, caught, caught_step, retry_after, sends, sync]
inngest.fast_api.serve(app, client, [*functions, close_cancelled_runs(client)])


@app.post("/flush")
def deliver() -> dict[str, Any]:
    """Delivers, and forgets how often handlers ran."""
    seen = dict(runs)
    runs.clear()
    return {"delivered": xray.flush(30.0), "runs": seen}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
