"""
Tables that fit 80 columns and lose nothing in a pipe.

On a terminal the columns marked ``wide`` are left out when there is no room, which is said
on stderr, and long words fold. In a pipe (``xray runs | grep …``) every column is there and nothing is cut
or folded, because a cut id finds no run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.words import counted

_PIPE_WIDTH = 10_000
_WIDE_TERMINAL = 120
_WHOLE_WIDTH = 40
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """How one field of an answer is shown."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    justify: Literal["left", "right"] = "left"
    wide: bool = False
    """Shown only in a pipe or on a terminal of at least 120 columns."""
    whole: bool = False
    """Gets its room before the others, up to 40 columns: ids, which people copy, and numbers."""


def console() -> Console:
    """The console of stdout, as wide as the terminal, or without an edge in a pipe."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPE_WIDTH)


def warning_console() -> Console:
    """The console of stderr: errors, warnings and progress."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(answer: Any) -> None:
    """Write the answer to stdout as indented JSON, as the API gave it."""
    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], out: Console) -> None:
    """
    Write a heading and one line per row; captured text is never read as markup.

    Columns left out for want of room are named on stderr.
    """
    shown = [column for column in columns if out.width >= _WIDE_TERMINAL or not column.wide]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    cells = [[_printable(column.cell(row)) for column in shown] for row in rows]
    needed = [
        max(map(cell_len, (column.title, *(line[position] for line in cells))))
        for position, column in enumerate(shown)
    ]
    crowded = sum(needed) + _GAP * (len(shown) - 1) > out.width
    for column, width in zip(shown, needed, strict=True):
        # Not min_width: rich shrinks such a column first all the same, and then cuts off the last ones.
        fixed = min(width, _WHOLE_WIDTH) if column.whole and crowded else None
        table.add_column(column.title, justify=column.justify, width=fixed, overflow="fold")
    for line in cells:
        table.add_row(*map(escape, line))
    out.print(table)
    _print_hidden([column.title for column in columns if column not in shown])


def _print_hidden(titles: Sequence[str]) -> None:
    if titles:
        print_line(
            f"{counted(len(titles), 'column')} hidden ({', '.join(titles)}): "
            f"a terminal of {_WIDE_TERMINAL} columns, a pipe or --json shows all",
            warning_console(),
        )


def print_pairs(pairs: Iterable[tuple[str, str]], out: Console) -> None:
    """Write ``name  value`` lines with the values aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, escape(_printable(value)))
    out.print(table)


def print_line(line: str, out: Console) -> None:
    """Write captured text as it is: no markup, no terminal control sequences."""
    out.print(escape(_printable(line)))


def _printable(value: str) -> str:
    """Show control characters as their escapes: captured text must not steer the terminal."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
