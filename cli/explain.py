"""
``xray explain``: why a run decided as it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.items import passages_table
from cli.tables import Column, console, print_json, print_line, print_table

_FUNNEL = (
    Column("STEP", lambda line: words.text(line["step"])),
    Column("IN", lambda line: words.count(line["candidates_in"]), "right", whole=True),
    Column("OUT", lambda line: words.count(line["candidates_out"]), "right", whole=True),
    Column("DROP", lambda line: words.percent(line["drop_ratio"]), "right", whole=True),
    Column("USUAL", lambda line: words.percent(line["baseline_drop_ratio"]), "right", whole=True),
    Column(words.MOST_FREQUENT_REASON, lambda line: words.top_reason(line["reasons"])),
)


def explain(
    run_id: options.RunId,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Explain one run: its funnel beside what is usual, the step at fault, the winner's way.

    Everything is computed from the record; the JSON form carries the numbers behind each sentence.
    """
    with ApiClient(url) as api:
        answer = api.get("runs", run_id, "explain")
    if as_json:
        print_json(answer)
        return
    out = console()
    for sentence in answer["summary"]:
        print_line(sentence, out)
    if answer["funnel"]:
        out.print()
        print_table(_FUNNEL, answer["funnel"], out)
    _print_findings(answer, out)
    for title, story in (("Winner", answer["winner"]), ("Runner-up", answer["runner_up"])):
        if story:
            out.print()
            _print_way(title, story, out)


def _print_way(title: str, story: Mapping[str, Any], out: Console) -> None:
    """The item and what each step decided about it, as far as that was recorded."""
    score = "" if story["score"] is None else f", score {words.number(story['score'])}"
    print_line(f"{title} {story['item_id']}{score}", out)
    if story["journey"]:
        passages_table(story["journey"], out)
    else:
        print_line("its way is not known: single candidates were not recorded", out)


def _print_findings(answer: Mapping[str, Any], out: Console) -> None:
    """The findings that the summary does not already say in full."""
    if answer["findings"]:
        out.print()
        out.print("Findings")
    for finding in answer["findings"]:
        print_line(f"- {finding['text']}", out)
