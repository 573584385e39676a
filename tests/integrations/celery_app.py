"""Tasks each of which is a run: ``celery -A tests.integrations.celery_app worker``."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

import xray_otel as xray

queue = Path(os.environ["TASKS_QUEUE"])
queue.mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(queue),
    "data_folder_out": str(queue),
    "control_folder": str(queue / "control"),
    "polling_interval": 0.1,
}
app.conf.worker_enable_remote_control = False


@app.task
def judge(run_id: str) -> None:
    with xray.run("task", run_id=run_id), xray.step("judge", type="filter") as step:
        step.accept("a")


def send(count: int) -> None:
    """Puts ``count`` tasks into the queue; their runs are task-0, task-1 …"""
    for number in range(count):
        judge.delay(f"task-{number}")
