"""
``xray diff``: where two runs part, and what became of which item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.tables import Column, console, print_json, print_line, print_table

_SHOWN_DIFFERENCES = 4


def _counted(changed: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in changed.items()) or words.NULL


def _differences(step: Mapping[str, Any]) -> str:
    found = [*step["config"], *step["differences"]]
    said = [f"{one['field']} {words.number(one['a'])} → {words.number(one['b'])}" for one in found]
    more = len(said) - _SHOWN_DIFFERENCES
    return "; ".join(said[:_SHOWN_DIFFERENCES]) + (f"; {more} more" if more > 0 else "")


def _judgement(made: Mapping[str, Any] | None) -> str:
    if made is None:
        return words.NULL
    said = [made["verdict"]]
    if made["reason"]:
        said.append(f"({words.text(made['reason'])})")
    if made["score"] is not None:
        said.append(f"score {words.number(made['score'])}")
    if made["rank"] is not None:
        said.append(f"#{made['rank']}")
    if made["value_missing"]:
        said.append("value missing")
    elif made["value"] is not None:
        said.append(f"value {words.number(made['value'])}")
    return " ".join(said)


_STEPS = (
    Column("STEP", lambda step: words.text(step["name"])),
    Column("", lambda step: step["standing"].replace("_", " "), whole=True),
    Column("DIFFERS IN", lambda step: words.text(", ".join(step["kinds"]) or None)),
    Column("ITEMS CHANGED", lambda step: _counted(step["items"]["changed"])),
    Column("SETTINGS AND FIGURES", _differences, wide=True),
)
_ITEMS = (
    Column("STEP", lambda line: line["step"]),
    Column("ITEM", lambda line: line["item_id"], whole=True),
    Column("A", lambda line: _judgement(line["a"])),
    Column("B", lambda line: _judgement(line["b"])),
)


def diff(
    run_a: Annotated[str, typer.Argument(metavar="A", help="Id of the one run.")],
    run_b: Annotated[str, typer.Argument(metavar="B", help="Id of the other.")],
    limit: Annotated[int, typer.Option("--limit", "-n", help="Changed items to show, 1 to 1000.")] = 20,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Compare two runs step by step: the first step that did something else with what it received.

    Steps behind it that differ too only follow. What the record cannot tell is said.
    """
    with ApiClient(url) as api:
        answer = api.get("runs", run_a, "diff", run_b, parameters=[("limit", str(limit))])
    if as_json:
        print_json(answer)
        return
    out = console()
    for sentence in answer["summary"]:
        print_line(sentence, out)
    if answer["steps"]:
        out.print()
        print_table(_STEPS, answer["steps"], out)
    lines = list(_changed_items(answer))
    if lines:
        out.print()
        print_table(_ITEMS, lines, out)
        total = sum(step["items"]["total"] for step in answer["steps"])
        if total > len(lines):
            print_line(f"{words.counted(total, 'changed item')} in all; --limit shows more of them", out)


def _changed_items(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for step in answer["steps"]:
        for change in step["items"]["examples"]:
            yield {"step": step["name"], **change}
