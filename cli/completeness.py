"""
Lists page by page, and what an answer leaves out, said under its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from cli.tables import Column, console, print_json, print_line, print_table, warning_console

Between = tuple[str | None, str | None]
"""The values of --started-after and --started-before."""
_WHOLE = ("complete", "exact")
_EVIDENCE = {
    "none": "no decisions recorded",
    "sampled": "decisions of a sample",
    "partial": "not every decision recorded or stored",
}


def print_completeness(answer: Mapping[str, Any], out: Console) -> None:
    """Write what is missing or not final, in one line; nothing when the answer is whole."""
    stated = answer["completeness"]
    said = [] if stated["state"] in _WHOLE else [stated["state"]]
    if stated.get("evidence", "full") != "full":
        said.append(_EVIDENCE[stated["evidence"]])
    said += [missing["text"] for missing in stated.get("missing", ())]
    said += [f"{stated[name]} {name}" for name in ("running", "partial") if stated.get(name)]
    if said:
        out.print()
        print_line("completeness: " + "; ".join(said), out)


def print_next_page(page: Mapping[str, Any], started: Between = (None, None)) -> None:
    """
    Say on stderr how to get the next page, so that a pipe gets rows only.

    With the times as they were understood: a cursor is of one question, and "7d" is another one later on.
    """
    if page.get("next_cursor"):
        given = zip(("--started-after", "--started-before"), started, strict=True)
        times = "".join(f"{option} {time} " for option, time in given if time is not None)
        print_line(f"More rows: repeat with {times}--cursor {page['next_cursor']}", warning_console())


def print_page(
    page: Mapping[str, Any],
    columns: Sequence[Column],
    nothing: str,
    as_json: bool,
    note: str | None = None,
    started: Between = (None, None),
) -> None:
    """
    Write one page of a list: as JSON, or its table and where it goes on.

    nothing: the line in place of an empty table. note: what is to be known of the page, for stderr.
    """
    if as_json:
        print_json(page)
        return
    if page["items"]:
        print_table(columns, page["items"], console())
    else:
        print_line(nothing, console())
    if note is not None:
        print_line(note, warning_console())
    print_next_page(page, started)
