"""
``xray why`` and ``xray near``: why one item and not another, and which nearly went otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.tables import Column, console, print_json, print_line, print_table

_NEAR = (
    Column("ITEM", lambda miss: miss["item_id"], whole=True),
    Column("STEP", lambda miss: words.text(miss["step"])),
    Column("RULE", lambda miss: words.text(miss["rule"])),
    Column("VERDICT", lambda miss: miss["verdict"], whole=True),
    Column("VALUE", lambda miss: words.number(miss["value"]), "right", whole=True),
    Column("THRESHOLD", lambda miss: words.number(miss["threshold"]), "right", whole=True),
    Column("OFF BY", lambda miss: f"{miss['relative']:.2%}", "right", whole=True),
)


def why(
    run_id: options.RunId,
    item: Annotated[str, typer.Argument(metavar="ITEM_ID", help="An item.")],
    over: Annotated[str, typer.Argument(metavar="OTHER_ID", help="The item that it is held against.")],
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Say why one item and not another: where their ways part, by how much, and what would turn it.

    The change is proved by replaying the run with it.
    """
    with ApiClient(url) as api:
        answer = api.get("runs", run_id, "contrast", parameters=[("item", item), ("over", over)])
    if as_json:
        print_json(answer)
        return
    out = console()
    for sentence in answer["summary"]:
        print_line(sentence, out)
    for fate in answer["fates"]:
        verdict = (fate["verdict"] or "not in the record").replace("_", " ")
        print_line(f"In the end: {fate['item_id']} {verdict}.", out)
    _print_evidence(answer)


def near(
    run_id: options.RunId,
    step: Annotated[str | None, typer.Option(help="Only this step, by id or name.")] = None,
    within: Annotated[float, typer.Option(help="Share of the threshold by which a value may be off.")] = 0.05,
    limit: options.Limit = 50,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    List the candidates of a run that nearly went otherwise, nearest to their limit first, on either side.
    """
    parameters = options.present(step=step, within=within, limit=limit)
    with ApiClient(url) as api:
        answer = api.get("runs", run_id, "near-misses", parameters=parameters)
    if as_json:
        print_json(answer)
        return
    out = console()
    if answer["items"]:
        print_table(_NEAR, answer["items"], out)
        if answer["count"] > len(answer["items"]):
            print_line(f"{words.count(answer['count'])} in all", out)
    else:
        print_line(f"No value is within {within:.3g} of its threshold.", out)
    _print_evidence(answer)


def _print_evidence(answer: Mapping[str, Any]) -> None:
    stated = answer["completeness"]
    blind = len(stated["sampled_steps"]), len(stated["incomplete_steps"])
    if any(blind):
        out = console()
        out.print()
        sampled, incomplete = blind
        print_line(
            f"completeness: {words.counted(sampled, 'step')} sampled, "
            f"{words.counted(incomplete, 'step')} with decisions missing or not recorded",
            out,
        )
