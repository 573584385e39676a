"""
``xray item`` and ``xray items``: what the steps of one run, and of all runs, decided about one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.completeness import print_completeness, print_page
from cli.outcomes import print_outcomes
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


_HISTORY = (
    Column("STARTED", lambda decision: words.ago(decision["started_at"]), "right", whole=True),
    Column("RUN", lambda decision: decision["run_id"], whole=True),
    Column("PIPELINE", lambda decision: words.text(decision["pipeline"])),
    Column("STEP", lambda decision: words.text(decision["name"])),
    *_PASSAGE[1:],
)
_UNSEEN = {
    "running": "still running",
    "sampled": "sampled",
    "partial": "partly stored",
    "none": "without decisions",
}
"""Counts of steps that the item may have passed unseen."""


def item(
    run_id: options.RunId,
    item_id: Annotated[
        str, typer.Argument(metavar="ITEM_ID", help="The item's id, as the pipeline recorded it.")
    ],
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
    print_outcomes(journey["outcomes"], out)
    print_completeness(journey, out)


def items(
    item_id: Annotated[
        str, typer.Argument(metavar="ITEM_ID", help="The item's id, as the pipelines recorded it.")
    ],
    pipeline: options.Pipeline = None,
    step_type: Annotated[
        str | None, typer.Option("--type", "-t", help="search, filter, rank, select, llm or custom.")
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option(help="kept, eliminated, scored, selected, not_selected, deferred or merged."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only decisions for this reason code.")] = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    filters: options.Filter = None,
    limit: options.Limit = 50,
    cursor: options.Cursor = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Find an item in all runs: which steps judged it and how, newest first.

    Who dropped it, and why: `xray items ITEM_ID --verdict eliminated`
    """
    parameters = options.present(
        pipeline=pipeline,
        step_type=step_type,
        verdict=verdict,
        reason=reason,
        started_after=started_after,
        started_before=started_before,
        limit=limit,
        cursor=cursor,
    )
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        history = api.get("items", item_id, parameters=parameters)
    nothing = f"No decision about {item_id} matches."
    print_page(
        history,
        _HISTORY,
        nothing,
        as_json,
        _searched(history["completeness"]),
        started=(started_after, started_before),
    )


def _searched(completeness: Mapping[str, Any]) -> str:
    """What the search has seen, and how many steps the item may have passed unseen."""
    said = f"searched: {words.counted(completeness['steps_searched'], 'step')}"
    if completeness["searched_back_to"]:
        said += f" back to {words.instant(completeness['searched_back_to'])}"
    unseen = [f"{completeness[word]} {said_as}" for word, said_as in _UNSEEN.items() if completeness[word]]
    return f"{said}; not every item is known of: {', '.join(unseen)}" if unseen else said


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
