"""A WSGI application whose every request is a run: ``gunicorn tests.integrations.gunicorn_app:app``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import xray_otel as xray

with xray.run("loaded"):  # with --preload: the client is at work before the workers are forked
    pass


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    with (
        xray.run("request", run_id=environ["QUERY_STRING"] or None),
        xray.step("judge", type="filter") as step,
    ):
        step.accept("a")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [str(os.getpid()).encode()]
