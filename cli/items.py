"""
``xray item``: what every step of a run decided about one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.completeness import print_completeness
from cli.tables import Column, console, print_json, print_line, print_table


def _value(passage: Mapping[str, Any]) -> str:
    return "missing" if passage["value_missing"] else words.number(passage["value"])


_PASSAGE = (
    Column("STEP", lambda passage: words.text(passage["step"])),
    Column("VERDICT", lambda passage: passage["verdict"] or passage["presence"], whole=True),
    Column("REASON", lambda passage: words.text(passage["reason"])),
    Column("SCORE", lambda passage: words.number(passage["score"]), "right", whole=True),
    Column("VALUE", _value, "right"),
    Column("THRESHOLD", lambda passage: words.number(passage["threshold"]), "right"),
)


def item(
    run_id: Annotated[str, typer.Argument(help="The run's id, as in `xray runs`.")],
    item_id: Annotated[str, typer.Argument(help="The item's id, as the pipeline recorded it.")],
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Follow one item through the steps of a run: kept, eliminated, selected, and why.

    "absent" means the step's full record does not name the item; "unknown" that its record is
    not full, so the item may have passed unseen.
    """
    with ApiClient(url) as api:
        journey = api.get("runs", run_id, "items", item_id)
    if as_json:
        print_json(journey)
        return
    out = console()
    print_line(f"{item_id} in run {run_id}: {journey['final_verdict']}", out)
    out.print()
    passages_table(_passages(journey), out)
    print_completeness(journey, out)


def passages_table(passages: Iterable[Mapping[str, Any]], out: Console) -> None:
    """Write one line per judgement of an item, in the order of the steps."""
    print_table(_PASSAGE, passages, out)


def _passages(journey: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One passage per decision; a step that does not name the item gives one without a verdict."""
    nothing = dict.fromkeys(("verdict", "reason", "score", "value", "value_missing", "threshold"))
    for step in journey["steps"]:
        named = {"step": step["step"]["name"], "presence": step["presence"]}
        for decision in step["decisions"] or (nothing,):
            yield {**named, **decision}
