"""
Takes a run along with Celery tasks: copy this file, and import it where the Celery app is made.

Signals rather than a task class, because Celery sends the next task of a chain after the body of the
one before has returned, but before ``task_postrun``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

import xray_otel as xray


@before_task_publish.connect
def _send(headers: dict[str, Any], **_: object) -> None:
    xray.inject(headers)


@task_prerun.connect
def _enter(task: Any, **_: object) -> None:
    task.request.joined = ExitStack()
    if task.request.headers:  # None: sent outside of any run
        task.request.joined.enter_context(xray.join_run(task.request.headers))


@task_postrun.connect
def _leave(task: Any, **_: object) -> None:
    task.request.joined.close()
