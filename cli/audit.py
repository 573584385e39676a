"""
``xray audit``: whether every candidate of a run is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli import options, words
from cli.client import ApiClient
from cli.tables import Column, console, print_json, print_line, print_table

_PAGE = "1000"
_STEPS = (
    Column("STEP", lambda line: words.text(line["step"])),
    Column("IN", lambda line: words.count(line["candidates_in"]), "right", whole=True),
    Column("VERDICTS", lambda line: words.count(line["accounted"]), "right", whole=True),
    Column("UNACCOUNTED", lambda line: words.count(line["unaccounted"]), "right", whole=True),
    Column("HANDED OVER", lambda line: words.count(line["handed_over"]), "right", whole=True),
    Column("VANISHED", lambda line: words.count(line["vanished"]["total"]), "right", whole=True),
    Column("GHOSTS", lambda line: words.count(line["ghosts"]["total"]), "right", whole=True),
    Column("NOT TOLD", lambda line: ", ".join(line["untold"])),
)
_ITEMS = (
    Column("ITEM", lambda item: words.text(item["item_id"])),
    Column("WHAT", lambda item: words.text(item["what"]), whole=True),
    Column("STEP", lambda item: words.text(item["step"])),
)


def audit(
    run_id: options.RunId,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Name the candidates of a run that vanished or appeared, however many, and the steps they did so in.

    NOT TOLD says why a step could not be looked at: sampled evidence, parallel steps without parents, …
    """
    with ApiClient(url) as api:
        answer = api.get("runs", run_id, "audit", parameters=[("limit", _PAGE)])
        items = list(_items(api, run_id, answer))
    if as_json:
        print_json({**answer, "items": items, "next_cursor": None})
        return
    out = console()
    if answer["steps"]:
        print_table(_STEPS, answer["steps"], out)
        out.print()
    if items:
        print_table(_ITEMS, items, out)
    elif any(line["unaccounted"] or line["handover_difference"] for line in answer["steps"]):
        print_line("Counts do not add up; the evidence does not tell which candidates it is.", out)
    else:
        print_line("No candidate vanished or appeared, as far as it can be told.", out)


def _items(api: ApiClient, run_id: str, answer: Mapping[str, Any]) -> Iterator[Any]:
    yield from answer["items"]
    while answer["next_cursor"] is not None:
        page = [("limit", _PAGE), ("cursor", answer["next_cursor"])]
        answer = api.get("runs", run_id, "audit", parameters=page)
        yield from answer["items"]
