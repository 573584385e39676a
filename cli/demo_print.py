"""The walk-through on paper: at most some 60 lines, each from an answer of the REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli import words
from cli.demo_story import Story

SHOWN_STEPS = 3
SHOWN_DIFFERENCES = 2


def print_story(story: Story, out: Console) -> None:
    """Print the bad match, its funnel, the step at fault, two journeys and the question across pipelines."""
    explanation = story.explanation
    others = words.counted(explanation["baseline_runs"], "other run")
    parts: list[RenderableType] = [
        *_match(story),
        _heading(f"The run, step by step (compared with {others})"),
        _funnel(explanation),
        _heading("The step at fault"),
        *_fault(explanation),
        _heading("The way of the winner, and of the item that came next"),
        _journeys(explanation),
        *_margin(story),
        *_flip(story),
        *_comparison(story),
        _heading("In which steps, of any pipeline, did a filter drop more than 90 %?"),
        _emptying(story),
        _heading("The same answers by hand"),
        _curl_lines(story),
        Text(f"\n{story.first_answer_s:.1f} s from start to the first REST answer."),
    ]
    out.print(Group(*parts))


def _heading(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _match(story: Story) -> Iterator[Text]:
    match = story.bad_match
    yield Text("A match that looks wrong" if story.reported else "A match", style="bold")
    yield Text(f"  product  {match['product']}  ({match['product_type'] or 'type unknown'})")
    kind = match["matched_type"] or "type unknown"
    yield Text(f"  matched  {match['matched_product']}  ({kind}, item {match['matched']})")
    yield Text(f"  run      {match['run_id']}")


def _table(*columns: str, right: tuple[str, ...] = (), folding: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        # Only the last columns may fold; names and numbers must not.
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in columns[-folding:],
            overflow="fold",
        )
    return table


def _funnel(explanation: Mapping[str, Any]) -> Table:
    table = _table(
        "  step", "type", "in", "out", "dropped", "usual", "reason", right=("in", "out", "dropped", "usual")
    )
    suspect = explanation["suspect"]
    decisive, verdict = _decisive(explanation)
    for line in explanation["funnel"]:
        at_fault = suspect is not None and line["step_id"] == suspect["step_id"]
        table.add_row(
            ("▸ " if at_fault else "  ") + escape(line["step"]),
            words.text(line["step_type"]),
            words.count(line["candidates_in"]),
            words.count(line["candidates_out"]),
            words.percent(line["drop_ratio"]),
            words.percent(line["baseline_drop_ratio"]),
            escape(_reason(line, decisive, verdict) if at_fault else _reason(line)),
            style="red" if at_fault else None,
        )
    return table


def _decisive(explanation: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The reason that shows the fault, and the verdict for which the winner got it."""
    suspect, winner = explanation["suspect"], explanation["winner"]
    if suspect is None or not suspect["findings"]:
        return None, None
    reason = explanation["findings"][suspect["findings"][0]]["evidence"].get("reason")
    given = (
        passage["verdict"]
        for passage in (winner["journey"] if winner is not None else ())
        if passage["step_id"] == suspect["step_id"] and passage["reason"] == reason
    )
    return reason, next(given, None)


def _reason(line: Mapping[str, Any], decisive: str | None = None, verdict: str | None = None) -> str:
    """The reason that shows the fault with its verdict, else the most frequent one; each with its count."""
    occurred = {code: count for code, count in line["reasons"].items() if count}
    if not occurred:
        return ""
    if decisive in occurred:
        return f"{decisive} {occurred[decisive]:,}" + (f" ({verdict})" if verdict else "")
    code = max(occurred, key=lambda code: occurred[code])
    return f"{code} {occurred[code]:,}"


def _fault(explanation: Mapping[str, Any]) -> Iterator[Text]:
    suspect = explanation["suspect"]
    if suspect is None:
        yield Text("  No step is shown to be at fault.")
        return
    culprit = explanation["culprits"][0] if explanation["conclusion"] == "fault" else None
    sure = "" if culprit is None else f", with {words.percent(culprit['confidence'])} confidence"
    yield Text(f"  {suspect['step']}{sure}", style="red")
    told = [explanation["findings"][number]["text"] for number in suspect["findings"]]
    for text in told or [suspect["text"]]:
        yield Text(f"  - {text}")


def _journeys(explanation: Mapping[str, Any]) -> Table:
    winner, rival = explanation["winner"], explanation["runner_up"]
    rivals = {} if rival is None else {passage["step_id"]: passage for passage in rival["journey"]}
    table = _table(
        "  step", f"winner {winner['item_id']}", f"next {rival['item_id']}" if rival else "", folding=2
    )
    for passage in winner["journey"]:
        other = rivals.get(passage["step_id"])
        if passage["verdict"] is not None or (other is not None and other["verdict"] is not None):
            table.add_row("  " + escape(passage["step"]), _passage(passage), _passage(other) if other else "")
    return table


def _passage(passage: Mapping[str, Any]) -> str:
    if passage["verdict"] is None:
        return str(passage["presence"])
    parts = [passage["verdict"]]
    if passage["reason"]:
        parts.append(passage["reason"])
    if passage["value_missing"]:
        parts.append("(value missing)")
    elif passage["value"] is not None:
        parts.append(f"({words.number(passage['value'])})")
    elif passage["score"] is not None:
        parts.append(f"({passage['score']:.3f})")
    return escape(" ".join(parts))


def _margin(story: Story) -> Iterator[Text]:
    rival = story.explanation["runner_up"]
    if rival is None:
        return
    titles = _titles(story.run)
    title = titles.get(rival["item_id"])
    behind = "" if rival["margin"] is None else f", {rival['margin']:.3f} behind"
    yield Text(f"  {rival['item_id']}{behind}" + (f": {title}" if title else ""))


def _flip(story: Story) -> Iterator[Text]:
    """Why the one and not the other, and the smallest change that turns it."""
    if story.contrast is None:
        return
    yield _heading("Why the winner and not the next, and what would turn it")
    first, *others = story.contrast["summary"]
    rival = story.explanation["runner_up"]["item_id"]
    # What each step said of the two stands in the table above.
    for sentence in (first, *(one for one in others if one.startswith("Their") or f"then {rival} " in one)):
        yield Text(f"  {sentence}")


def _comparison(story: Story) -> Iterator[Text]:
    """What differs from a run of the same product that went well."""
    if story.healthy is None or story.comparison is None:
        return
    yield _heading("The same product in a healthy run")
    yield Text(f"  {story.healthy['run_id']} matched {story.healthy['matched_product']}")
    told = [one for one in story.comparison["summary"] if not one.startswith("The runs themselves")]
    for sentence in told[:SHOWN_DIFFERENCES]:
        yield Text(f"  {sentence}")


def _titles(run: Mapping[str, Any]) -> dict[str, str]:
    """Titles that the rank step wrote out, with their types."""
    found: dict[str, str] = {}
    for step in run["steps"]:
        output = step["output"]
        for item in output.get("first", ()) if isinstance(output, dict) else ():
            found[item["id"]] = f"{item['title']} ({item['type'] or 'type unknown'})"
    return found


def _emptying(story: Story) -> RenderableType:
    steps = story.emptying_steps
    table = _table("  pipeline", "step", "in", "out", "dropped", right=("in", "out", "dropped"))
    for step in steps[:SHOWN_STEPS]:
        table.add_row(
            "  " + escape(words.text(step["pipeline"])),
            escape(step["name"]),
            words.count(step["candidates_in"]),
            words.count(step["candidates_out"]),
            words.percent(step["drop_ratio"]),
        )
    pipelines = len({step["pipeline"] for step in steps})
    more = f"{len(steps) - SHOWN_STEPS} more; " if len(steps) > SHOWN_STEPS else ""
    total = Text(
        f"  {more}{words.counted(len(steps), 'step')} in {len(story.emptied_runs)} of "
        f"{words.counted(story.runs, 'run')}, {words.counted(pipelines, 'pipeline')}"
    )
    return Group(table, total) if steps else total


def _curl_lines(story: Story) -> RenderableType:
    return Group(*(Text(f"  {question.curl}  # {question.words}") for question in story.questions))
