"""Tables for terminals and for pipes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.tables import Column, print_line, print_table

COLUMNS = (
    Column("RUN", lambda row: str(row["run"])),
    Column("NOTE", lambda row: str(row["note"]), wide=True),
    Column("DROP", lambda row: str(row["drop"]), "right", whole=True),
)


def rendered(width: int, **row: str) -> list[str]:
    """The table's lines at a width."""
    out = Console(file=io.StringIO(), width=width)
    print_table(COLUMNS, [row], out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_narrow_terminal_leaves_out_wide_columns() -> None:
    """At 80 columns no line is longer, and columns for wide terminals are left out."""
    lines = rendered(80, run="r" * 100, note="seen", drop="99.4 %")
    assert max(len(line) for line in lines) <= 80
    assert not any("NOTE" in line or "seen" in line for line in lines)


def test_columns_left_out_are_named_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What a narrow terminal does not show is named, with how to see it; a pipe is told nothing."""
    rendered(10_000, run="r", note="seen", drop="99.4 %")
    assert capsys.readouterr().err == ""
    rendered(80, run="r", note="seen", drop="99.4 %")
    assert capsys.readouterr().err.startswith("1 column hidden (NOTE): a terminal of 120 columns, ")


def test_table_without_rows_is_its_heading() -> None:
    """No rows give the heading alone."""
    out = Console(file=io.StringIO(), width=120)
    print_table(COLUMNS, [], out)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().split() == ["RUN", "NOTE", "DROP"]


def test_ids_get_their_room_first() -> None:
    """At 80 columns an id of 36 characters stands in one line, and no column is cut off."""
    columns = (
        Column("RUN", lambda row: str(row["run"]), whole=True),
        Column("NAME", lambda row: str(row["name"])),
        Column("STARTED", lambda row: str(row["started"]), "right", whole=True),
        Column("DROP", lambda row: str(row["drop"]), "right", whole=True),
    )
    out = Console(file=io.StringIO(), width=80)
    print_table(
        columns, [{"run": "r" * 36, "name": "x" * 90, "started": "12 min ago", "drop": ">99.9 %"}], out
    )
    assert isinstance(out.file, io.StringIO)
    shown = out.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert all(cell in shown for cell in ("r" * 36, "12 min ago", "DROP", ">99.9 %"))
    assert shown.count("x") == 90


def test_pipe_shows_every_column_uncut() -> None:
    """Where there is no edge an id of 128 characters stands whole in its line."""
    lines = rendered(10_000, run="r" * 128, note="seen", drop="99.4 %")
    assert len(lines) == 2
    assert "r" * 128 in lines[1]
    assert "seen" in lines[1]


def test_captured_text_is_not_markup_and_does_not_steer_the_terminal() -> None:
    """Brackets stay brackets, and escape sequences are shown, not obeyed."""
    out = Console(file=io.StringIO(), width=80, force_terminal=True, highlight=False)
    print_line("[red]x[/red] \x1b[2J", out)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().rstrip() == "[red]x[/red] \\x1b[2J"
