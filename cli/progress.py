"""
Progress: lines for a person who waits.
"""

from __future__ import annotations

from collections.abc import Callable

from cli.tables import print_line, warning_console

Say = Callable[[str], None]
"""Takes one line of progress."""


def silent(_line: str) -> None:
    """Say nothing."""


def on_stderr() -> Say:
    """Say it on stderr, so that stdout stays the answer's."""
    out = warning_console()
    return lambda line: print_line(line, out)
