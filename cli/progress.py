"""
Progress: lines for a person who waits, or log events where lines are read by programs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from cli.tables import print_line, warning_console

_log = logging.getLogger(__name__)

Say = Callable[[str], None]
"""Takes one line of progress."""


def silent(_line: str) -> None:
    """Say nothing."""


def on_stderr() -> Say:
    """Say it on stderr, so that stdout stays the answer's."""
    out = warning_console()
    return lambda line: print_line(line, out)


def as_log_events() -> Say:
    """Say it as log events, whatever the level of the others: these few tell of start and stop."""
    _log.setLevel(logging.INFO)
    return lambda line: _log.info(" ".join(line.split()))
