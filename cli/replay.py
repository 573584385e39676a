"""
``xray replay``: what a run would have decided with other thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.errors import UsageError
from cli.tables import Column, console, print_json, print_line, print_table

_ACTIONS = {"threshold": "threshold", "scale": "scale", "top_k": "top_k", "remove": "remove_check"}
_ACCEPTED = (
    "STEP[.RULE].threshold=NUMBER, STEP[.RULE].scale=FACTOR, STEP[.RULE].remove=true or STEP.top_k=NUMBER "
    "is accepted"
)


def _between(step: Mapping[str, Any]) -> str:
    """What is certain of a count, and what it would be on the assumptions."""
    low, high, expected = step["low"], step["high"], step["expected"]
    if low == high:
        return words.count(low)
    text = f"{words.count(low)} to {words.count(high)}" if high is not None else f"{words.count(low)} or more"
    if step["estimate"] is not None:
        return f"{text}, estimated {words.number(round(step['estimate']['value'], 1))}"
    return text if expected is None else f"{text}, assumed {words.count(expected)}"


_STEPS = (
    Column("STEP", lambda step: words.text(step["step"])),
    Column("LET THROUGH", lambda step: words.count(step["was"]), "right", whole=True),
    Column("WOULD LET THROUGH", _between, "right"),
    Column("EVIDENCE", lambda step: step["evidence"]),
)


def _rests_on(item: Mapping[str, Any]) -> str:
    """Of the decisions on it, those of changed steps first, the first that says anything."""
    for cited in item["because"]:
        if cited["value"] is not None and cited["threshold"] is not None:
            return f"value {words.number(cited['value'])}, limit {words.number(cited['threshold'])}"
        if cited["score"] is not None:
            return f"score {words.number(cited['score'])}"
    return words.NULL


def _fate(verdict: str | None, step_id: str, item: Mapping[str, Any]) -> str:
    """``not selected at rank``: the last step that had a say."""
    if verdict is None or verdict == "unknown":
        return words.text(verdict)
    names = {cited["step_id"]: cited["step"] for cited in item["because"]}
    return f"{verdict.replace('_', ' ')} at {names.get(step_id, step_id)}"


_ITEMS = (
    Column("ITEM", lambda item: item["item_id"], whole=True),
    Column("WAS", lambda item: _fate(item["was"], item["was_at"], item), whole=True),
    Column("WOULD BE", lambda item: _fate(item["now"], item["now_at"], item), whole=True),
    Column("SURELY", lambda item: item["certainty"], whole=True),
    Column("BECAUSE OF", _rests_on),
    Column("WHY NOT CERTAIN", lambda item: words.text(item["cause_text"])),
)


def replay(
    run_id: options.RunId,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set",
            "-s",
            metavar="STEP.RULE.threshold=NUMBER",
            help="A change, repeatable: price.too_dear.threshold=60, price.threshold=60 where the step has "
            "one rule, price.scale=1.1, price.too_dear.remove=true, best.top_k=5.",
        ),
    ],
    items: Annotated[
        list[str] | None, typer.Option("--item", "-i", help="Only this item, repeatable; else what changes.")
    ] = None,
    limit: options.Limit = 50,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Replay a run with other thresholds: what each step would have let through, and what becomes of whom.

    Nothing runs again; it follows from the record. "certain" is proved by it, "assumed" holds if the steps
    have no rules but those that the record shows, and "unknown" says why.
    """
    with ApiClient(url) as api:
        run = api.get("runs", run_id)
        ids = {step["step_id"]: step["name"] for step in run["steps"]}
        body = {"changes": [_change(text, ids) for text in changes], "limit": limit, "items": items or []}
        answer = api.post("runs", run_id, "replay", body=body)
    if as_json:
        print_json(answer)
        return
    out = console()
    for line in _heading(answer):
        print_line(line, out)
    out.print()
    print_table(_STEPS, answer["steps"], out)
    if answer["items"]:
        out.print()
        print_table(_ITEMS, answer["items"], out)
    _print_causes(answer["completeness"], out)


def _change(text: str, ids: Mapping[str, str]) -> dict[str, Any]:
    names = dict.fromkeys(ids.values())
    path, sign, value = text.partition("=")
    place, _, action = path.rpartition(".")
    if not sign or not place or action not in _ACTIONS:
        raise UsageError(f"--set {text!r}: {_ACCEPTED}")
    # A name may hold dots: the longest one that the run knows is the step.
    ends = [at for at, char in enumerate(place) if char == "."]
    step = next(
        (place[:at] for at in (len(place), *reversed(ends)) if place[:at] in ids or place[:at] in names), None
    )
    if step is None:
        raise UsageError(f"--set {text!r}: the run has no such step; it has {', '.join(names) or 'none'}")
    change: dict[str, Any] = {"step": step, _ACTIONS[action]: _value(text, action, value)}
    return change if len(step) == len(place) else change | {"reason": place[len(step) + 1 :]}


def _value(text: str, action: str, value: str) -> Any:
    if action == "remove":
        if value == "true":
            return True
    else:
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    raise UsageError(f"--set {text!r}: {_ACCEPTED}")


def _heading(answer: Mapping[str, Any]) -> Iterator[str]:
    for change in answer["changes"]:
        what = f"{change['step']} {change['rule'] or ''}".strip()
        if change["top_k"] is not None:
            was = next(step["was"] for step in answer["steps"] if step["step_id"] == change["step_id"])
            yield f"{what}: keep the best {words.count(change['top_k'])}, where it kept {words.count(was)}"
        elif change["remove"]:
            yield f"{what}: left out"
        else:
            before = ", ".join(map(words.number, change["thresholds_before"])) or words.NULL
            new = change["threshold"]
            after = f"times {words.number(change['scale'])}" if new is None else f"to {words.number(new)}"
            sign = f"value {change['comparator']} threshold" if change["comparator"] else "comparator unknown"
            source = change["comparator_source"] or "not recorded"
            yield f"{what}: threshold {before} {after} ({sign}, {source})"
    for certainty, counts in answer["counts"].items():
        if counts:
            told = ", ".join(f"{words.count(n)} {word.replace('_', ' ')}" for word, n in counts.items())
            yield f"{certainty}: {told}"
    unknown = sum(answer["counts"].get("unknown", {}).values())
    rest = f"; of {words.count(unknown)} it is unknown" if unknown else ""
    yield f"{words.counted(answer['changed'], 'item')} would fare otherwise{rest}"


def _print_causes(stated: Mapping[str, Any], out: Console) -> None:
    causes = [(word, cause) for word in ("unknown", "assumed") for cause in stated[word]]
    if causes:
        out.print()
    for word, cause in causes:
        print_line(f"{word}, {words.counted(cause['count'], 'item')}: {cause['text']}", out)
