"""
What the server looks after by itself: its tasks, in one place.

They run in the processes that receive (``xray up``, ``xray collector``), whose database role may
write anyway; ``xray api`` may be given one that only reads.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry

from api.alerts.upkeep import DELIVER_EVERY_S, EVALUATE_EVERY_S, FORGET_EVERY_S, deliver_due, evaluate_due
from api.contracts import continuous
from cli.settings import Settings
from store import partition_care, retention, rollups
from store.alert_outbox import forget_old
from store.artifacts import garbage
from store.artifacts.objects import ObjectStore
from store.reader import Reader
from store.upkeep import Task, Upkeep

STOP_S = 3.0
"""For statements under way to be cancelled."""
_STATEMENT_TIMEOUT_MS = 60_000
"""Nobody waits for the answer, and the next rule can."""


def tasks(settings: Settings, url: str = "", objects: ObjectStore | None = None) -> list[Task]:
    """
    Return every task of the server, by what the settings ask for.

    url: where rules ask their questions. objects: where payloads of artifacts lie; None: in the database.
    """
    return [
        partition_care.task(),
        rollups.task(),
        retention.task(settings.upkeep.policy),
        *([] if objects is None else [garbage.task(objects, settings.artifacts.grace_s)]),
        *_of_rules(settings, url),
    ]


def _of_rules(settings: Settings, url: str) -> list[Task]:
    """Contracts and alert rules: they ask as the API does."""
    ask = partial(
        Reader.open,
        url,
        statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
        run_timeout_s=settings.api.run_timeout_s,
    )
    deliver = partial(deliver_due, allow_private=settings.api.alert_private_addresses)
    return [
        Task("contracts", continuous.INTERVAL_S, partial(continuous.check_due, open_reader=ask)),
        Task("alert-rules", EVALUATE_EVERY_S, partial(evaluate_due, open_reader=ask)),
        Task("alert-deliveries", DELIVER_EVERY_S, deliver),
        Task("alert-outbox", FORGET_EVERY_S, forget_old),
    ]


def upkeep(
    settings: Settings, url: str, registry: CollectorRegistry, objects: ObjectStore | None = None
) -> Upkeep:
    """Return the upkeep of a process; it has nothing to do with ``XRAY_UPKEEP=false``."""
    return Upkeep(tasks(settings, url, objects) if settings.upkeep.upkeep else [], url, registry)
