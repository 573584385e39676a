"""The questions that a developer asks about a bad match, and the API's answers."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from cli.client import ApiClient
from cli.demo_options import DemoOptions, Endpoints
from cli.demo_programs import Line, run_competitor_selection, run_ids, side_programs
from cli.errors import Failure
from cli.words import counted

STORED_WITHIN_S = 90.0
POLL_S = 0.05
EMPTYING = [("step_type", "filter"), ("drop_ratio_gt", "0.9")]
PAGE = ("limit", "1000")

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question in words and as the command that asks it."""

    words: str
    curl: str


@dataclass(frozen=True, slots=True)
class Story:
    """What was asked and what came back; ``rival_journey`` is None when there was no second item."""

    bad_match: Line
    reported: bool
    """Whether the match is of another type than its product; else it is only the last run."""
    runs: int
    """Runs of all pipelines that the walk-through made."""
    first_answer_s: float
    run: Answer
    explanation: Answer
    winner_journey: Answer
    rival_journey: Answer | None
    contrast: Answer | None
    """Why the winner and not the next item, with the smallest change that turns it."""
    healthy: Line | None
    """Another run of the same product; None when there is none."""
    comparison: Answer | None
    """That run and the bad match, step by step."""
    emptying_steps: Sequence[Answer]
    emptied_runs: Sequence[Answer]
    questions: Sequence[Question]


def ask(endpoints: Endpoints, options: DemoOptions, say: Callable[[str], None]) -> Story:
    """
    Run the pipelines, then ask the API about the worst match and across pipelines.

    say: takes a line about the progress. Raises ``Failure`` when a pipeline fails or an answer does not come.
    """
    say("running the competitor pipeline …")
    lines = run_competitor_selection(endpoints, options)
    bad_match, reported = _bad_match(lines)
    run_id = bad_match["run_id"]
    say(f"{counted(len(lines), 'run')}; starting two other pipelines, and asking about run {run_id}")
    with ApiClient(endpoints.api) as api, side_programs(endpoints, options) as side_lines:
        _wait_until_stored(api, run_ids(lines))
        run = api.get("runs", run_id)
        first_answer_s = time.monotonic() - options.started_s
        explanation = api.get("runs", run_id, "explain")
        winner, rival = explanation["winner"], explanation["runner_up"]
        if winner is None:
            raise Failure(f"the explanation of run {run_id} names no selected item")
        healthy = _healthy(lines, bad_match)
        comparison = None if healthy is None else api.get("runs", healthy["run_id"], "diff", run_id)
        own = run_ids([*lines, *side_lines()])
        _wait_until_stored(api, own)
        return Story(
            bad_match=bad_match,
            reported=reported,
            runs=len(own),
            first_answer_s=round(first_answer_s, 2),
            run=run,
            explanation=explanation,
            winner_journey=api.get("runs", run_id, "items", winner["item_id"]),
            rival_journey=api.get("runs", run_id, "items", rival["item_id"]) if rival is not None else None,
            contrast=None
            if rival is None
            else api.get(
                "runs",
                run_id,
                "contrast",
                parameters=[("item", winner["item_id"]), ("over", rival["item_id"])],
            ),
            healthy=healthy,
            comparison=comparison,
            emptying_steps=_of_runs(own, api.get("steps", parameters=[*EMPTYING, PAGE])),
            emptied_runs=_of_runs(own, api.get("runs", parameters=[*_of_a_step(EMPTYING), PAGE])),
            questions=_questions(endpoints.api, explanation, healthy),
        )


def _healthy(lines: Sequence[Line], bad_match: Line) -> Line | None:
    """The run of the same product that found a match of its type."""
    same = (line for line in lines if line["entity"] == bad_match["entity"] and line is not bad_match)
    return next((line for line in same if line["matched_type"] == line["product_type"]), None)


def _of_runs(own: set[str], page: Answer) -> list[Answer]:
    """The items of a page that belong to these runs: the database may hold others."""
    return [item for item in page["items"] if item["run_id"] in own]


def _bad_match(lines: Sequence[Line]) -> tuple[Line, bool]:
    """The first run whose match is of another type than its product; else the last run that matched."""
    matched = [line for line in lines if line["matched"] is not None]
    if not matched:
        raise Failure("no run of the competitor pipeline found a match")
    wrong = [line for line in matched if line["matched_type"] not in (None, line["product_type"])]
    untyped = [line for line in matched if line["matched_type"] is None]
    return (wrong or untyped or matched[-1:])[0], bool(wrong)


def _wait_until_stored(api: ApiClient, awaited: set[str]) -> None:
    """Return once all runs have ended as the API sees them."""
    deadline = time.monotonic() + STORED_WITHIN_S
    while missing := awaited - _completed(api, awaited):
        if time.monotonic() > deadline:
            raise Failure(
                f"{len(missing)} runs are not stored after {STORED_WITHIN_S:.0f} s: {min(missing)} …"
            )
        time.sleep(POLL_S)


def _completed(api: ApiClient, awaited: set[str]) -> set[str]:
    """Those of the runs that are among the completed ones, read page by page until all are found."""
    found: set[str] = set()
    parameters = [("status", "completed"), PAGE]
    while True:
        page = api.get("runs", parameters=parameters)
        found |= awaited & {run["run_id"] for run in page["items"]}
        if page["next_cursor"] is None or found == awaited:
            return found
        parameters = [("status", "completed"), PAGE, ("cursor", page["next_cursor"])]


def _of_a_step(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"step.{name}", value) for name, value in parameters]


def _questions(api: str, explanation: Answer, healthy: Line | None) -> list[Question]:
    run = f"/runs/{explanation['run']['run_id']}"
    asked = [("the run and its steps", run), ("why it decided so", f"{run}/explain?format=text")]
    if explanation["suspect"] is not None and explanation["suspect"]["findings"]:
        decisive = explanation["findings"][explanation["suspect"]["findings"][0]]
        reason = decisive["evidence"].get("reason")
        if reason is not None:
            path = f"{run}/steps/{quote(decisive['step_id'], safe='')}/decisions?reason={quote(reason)}"
            asked.append((f"all that passed as {reason}", path))
    winner, rival = explanation["winner"], explanation["runner_up"]
    if winner is not None:
        asked.append(("the winner's way", f"{run}/items/{quote(winner['item_id'], safe='')}"))
    if winner is not None and rival is not None:
        pair = urlencode([("item", winner["item_id"]), ("over", rival["item_id"])])
        asked.append(("why not the next one", f"{run}/contrast?{pair}"))
    if healthy is not None:
        asked.append(
            ("beside a healthy run", f"/runs/{healthy['run_id']}/diff/{explanation['run']['run_id']}")
        )
    asked += [
        ("filters above 90 %, any pipeline", f"/steps?{urlencode(EMPTYING)}"),
        ("the runs they belong to", f"/runs?{urlencode(_of_a_step(EMPTYING))}"),
    ]
    return [Question(words, "curl -s " + shlex.quote(f"{api}/api/v1{path}")) for words, path in asked]
