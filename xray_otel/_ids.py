"""Ids of runs."""

from __future__ import annotations

import os
import random
import re
import time
from typing import TypeGuard

from xray_otel import _mask

_random = random.Random()
"""Our own, seeded by the system: programs seed the shared one to be reproducible, and would repeat ids."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
OWN_RUN_ID = re.compile(_UUID)
OWN_STEP_ID = re.compile(f"(?=[0-9]*[a-f])[0-9a-f]{{16}}|{_UUID}")
"""Ids as we make them: random, and no pattern may part the steps of a run."""


def new_run_id() -> str:
    """A UUIDv7 as text: its first 48 bits are the time in milliseconds, so ids sort by time (RFC 9562)."""
    value = (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80 | random_bits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def random_bits(count: int) -> int:
    """A number of ``count`` random bits, whatever the program does to ``random``; safe from any thread."""
    return _random.getrandbits(count)


def is_run_id(value: object) -> TypeGuard[str]:
    """Whether the server takes it as a run id: 1 to 128 of ``A-Z a-z 0-9 _ -``."""
    return type(value) is str and _RUN_ID.fullmatch(value) is not None


def leaves_whole(run_id: str) -> bool:
    """Whether no mask hides a part of this run id."""
    return OWN_RUN_ID.fullmatch(run_id) is not None or _mask.current.text(run_id) == run_id


def new_step_id() -> str:
    """
    16 random hex digits, a letter among them: what has 16 decimal ones may be the number of a card.

    Not the span's id: that may come from ``random``, and a pipeline that seeds it before
    each step would give all its steps one id.
    """
    while (step_id := f"{random_bits(64):016x}").isdecimal():
        pass
    return step_id
