"""
The worker: ``celery -A examples.services.tasks worker``.

Its broker is a folder, ``SHOP_QUEUE`` or one in the temporary directory, so that nothing needs to be
installed; with any other, only the first lines differ.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from celery import Celery

import xray_otel as xray
from examples import catalogue
from examples.services import run_in_headers  # noqa: F401 - connects its signals

queue = Path(os.environ.get("SHOP_QUEUE") or Path(tempfile.gettempdir()) / "xray-example-queue")
queue.mkdir(parents=True, exist_ok=True)
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(queue),
    "data_folder_out": str(queue),
    "control_folder": str(queue / "control"),
    "polling_interval": 0.1,
}
app.conf.worker_enable_remote_control = False

products = {product.id: product for product in catalogue.generate()}


@app.task
@xray.step(type="rank", top_k=10)
def rank(found: list[str]) -> list[str]:
    return xray.current_step().rank(found, score=lambda each: products[each].popularity or 0, top_k=10)


@app.task
@xray.step(type="select", why="best liked of the most viewed")
def choose(best: list[str]) -> str | None:
    return xray.current_step().select_best(best, score=lambda each: products[each].rating or 0.0)
