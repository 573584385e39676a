"""
What the server looks after by itself: its tasks, in one place.

They run in the processes that receive (``xray up``, ``xray collector``), whose database role may
write anyway; ``xray api`` may be given one that only reads.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from cli.settings import Settings
from store import partition_care, retention
from store.upkeep import Task, Upkeep

STOP_S = 3.0
"""For statements under way to be cancelled."""


def tasks(settings: Settings) -> list[Task]:
    """Return every task of the server, by what the settings ask for."""
    return [partition_care.task(), retention.task(settings.upkeep.policy)]


def upkeep(settings: Settings, url: str, registry: CollectorRegistry) -> Upkeep:
    """Return the upkeep of a process; it has nothing to do with ``XRAY_UPKEEP=false``."""
    return Upkeep(tasks(settings) if settings.upkeep.upkeep else [], url, registry)
