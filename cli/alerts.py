"""
``xray alerts``: rules that tell somebody, and where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from cli import options, words
from cli.client import ApiClient
from cli.errors import Failure, UsageError
from cli.tables import Column, console, print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Alert rules: who is told when a figure is out of bounds.")

RuleId = Annotated[str, typer.Argument(metavar="RULE", help="The rule's id, as in `xray alerts list`.")]

_GROUPS = (
    Column("RULE", lambda row: row["rule_id"], whole=True),
    Column("STATE", lambda row: row["state"], whole=True),
    Column("SINCE", lambda row: row["since"], "right", whole=True),
    Column("VALUE", lambda row: words.number(row["value"]), "right", whole=True),
    Column("GROUP", lambda row: _named(row["group"])),
    Column("ERROR", lambda row: words.text(row["error"]), wide=True),
)
_EVENTS = (
    Column("AT", lambda event: words.instant(event["created_at"]), whole=True),
    Column("TYPE", lambda event: event["type"], whole=True),
    Column("DELIVERY", lambda event: event["state"], whole=True),
    Column("TRIES", lambda event: words.count(event["attempts"]), "right", whole=True),
    Column("ANSWER", lambda event: words.text(event["last_answer"])),
    Column("WEBHOOK", lambda event: event["webhook"]),
    Column("GROUP", lambda event: _named(event["group"]), wide=True),
)
_TOLD = (
    Column("AT", lambda told: words.instant(told["at"]), whole=True),
    Column("TYPE", lambda told: told["type"], whole=True),
    Column("VALUE", lambda told: words.number(told["value"]), "right", whole=True),
    Column("N", lambda told: words.count(told["n"]), "right", whole=True),
    Column("GROUP", lambda told: _named(told["group"])),
)


@app.command("list")
def list_rules(as_json: options.Json = False, url: options.Url = options.DEFAULT_URL) -> None:
    """List the rules, with where their groups stand."""
    with ApiClient(url) as api:
        answer = api.get("alerts")
    if as_json:
        print_json(answer)
    elif answer["items"]:
        print_table(_GROUPS, _rows(answer["items"]), console())
    else:
        print_line("No alert rule is stored.", console())


@app.command()
def show(rule: RuleId, as_json: options.Json = False, url: options.Url = options.DEFAULT_URL) -> None:
    """Show a rule, where its groups stand, and what it told."""
    with ApiClient(url) as api:
        answer = api.get("alerts", rule)
    if as_json:
        print_json(answer)
        return
    out = console()
    print_line(orjson.dumps(answer["document"]).decode(), out)
    out.print()
    print_table(_GROUPS, _rows([answer]), out)
    if answer["events"]:
        out.print()
        print_table(_EVENTS, answer["events"], out)


@app.command()
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule in YAML or JSON (docs/alerts.md).")],
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Store a rule, or replace it; its id stands in the file."""
    document = _read(file)
    with ApiClient(url) as api:
        answer = api.send("PUT", "alerts", document["id"], body=document)
    print_line(f"stored {answer['rule_id']}", console())
    if answer["secret"] is not None:
        print_line(f"secret {answer['secret']} (shown this once; it signs what is sent)", console())


@app.command()
def delete(rule: RuleId, url: options.Url = options.DEFAULT_URL) -> None:
    """Forget a rule; its groups that fire are told as resolved."""
    with ApiClient(url) as api:
        api.send("DELETE", "alerts", rule)


@app.command("test")
def try_out(
    rule: RuleId,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; say what it would have told.")
    ] = False,
    started_after: options.After = None,
    started_before: options.Before = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Send a sample, marked as a test, to the webhooks of a rule; exit code 1 when one did not take it.

    With --dry-run and --started-after: evaluate the rule on what is stored, and say what it would have told.
    """
    if dry_run:
        _dry_run(rule, started_after, started_before, as_json, url)
        return
    with ApiClient(url) as api:
        answer = api.send("POST", "alerts", rule, "test")
    if as_json:
        print_json(answer)
    refused = [item for item in answer["items"] if not item["accepted"]]
    if not as_json:
        for item in answer["items"]:
            print_line(f"{item['webhook']}: {item['answer']}", console())
    if refused:
        raise Failure(f"{words.counted(len(refused), 'webhook')} did not take the sample")


def _dry_run(rule: str, after: str | None, before: str | None, as_json: bool, url: str) -> None:
    if after is None:
        raise UsageError("--dry-run needs --started-after: the time of the first evaluation")
    body = {"started_after": after} | ({"started_before": before} if before is not None else {})
    with ApiClient(url) as api:
        answer = api.send("POST", "alerts", rule, "dry-run", body=body)
    if as_json:
        print_json(answer)
        return
    out = console()
    if answer["items"]:
        print_table(_TOLD, answer["items"], out)
    else:
        print_line("It would have told nothing.", out)
    often = f"{answer['evaluations']} evaluations, one every {answer['every_s']:g} s"
    print_line(often, out)


def _read(file: Path) -> Mapping[str, Any]:
    # Here, because it loads the filter language, which no other command of a client needs.
    from api.contracts.declared import ContractProblem, load

    try:
        with file.open("rb") as opened:
            document = load(opened)
        # What only YAML can say, such as a date, the server would never see.
        orjson.dumps(document, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    except (ContractProblem, TypeError) as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(document, Mapping) or not isinstance(document.get("id"), str):
        raise UsageError(f"{file}: a rule with an id is needed (docs/alerts.md)")
    return document


def _rows(rules: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for rule in rules:
        named = {"rule_id": rule["rule_id"], "error": rule["error"]}
        for group in rule["groups"]:
            yield {**group, **named, "since": words.ago(group["since"])}
        if not rule["groups"]:
            state, when = _groupless(rule)
            yield {**named, "group": {}, "state": state, "since": when, "value": None}


def _groupless(rule: Mapping[str, Any]) -> tuple[str, str]:
    """State of a rule of which no group is known, and since when or when it comes."""
    evaluated_at = rule["evaluated_at"]
    if evaluated_at is None or datetime.fromisoformat(evaluated_at) < datetime.fromisoformat(
        rule["updated_at"]
    ):
        return "not evaluated yet", words.due(rule["next_evaluation_at"])
    return "failed" if rule["error"] else "nothing seen", words.ago(evaluated_at)


def _named(group: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={words.text(value)}" for name, value in sorted(group.items())) or words.NULL
