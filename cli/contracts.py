"""
``xray contracts``: what must hold of runs, checked on what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import typer

from cli import options, words
from cli.client import ApiClient
from cli.errors import UsageError
from cli.tables import Column, console, print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Check what must hold of runs: contracts.")

EXIT_VIOLATED = 1
EXIT_UNKNOWN = 2
_NAMED = 5

_COLUMNS = (
    Column("CONTRACT", lambda found: found["id"], whole=True),
    Column("STATE", lambda found: found["state"], whole=True),
    Column("FOUND", lambda found: found["said"]),
)


def _state(stored: Mapping[str, Any]) -> str:
    latest = _latest(stored)
    return "not checked yet" if latest is None else str(latest["state"])


def _checked(stored: Mapping[str, Any]) -> str:
    latest = _latest(stored)
    return words.due(stored["next_check_at"]) if latest is None else words.ago(latest["checked_at"])


def _found(stored: Mapping[str, Any]) -> str:
    latest = _latest(stored)
    return words.NULL if latest is None else str(latest["result"]["said"])


def _latest(stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the last check found; None when there was none since the contract was put."""
    results: Sequence[Mapping[str, Any]] = stored["results"]
    put_at = datetime.fromisoformat(stored["updated_at"])
    return results[0] if results and datetime.fromisoformat(results[0]["checked_at"]) >= put_at else None


_STORED = (
    Column("CONTRACT", lambda stored: stored["contract_id"], whole=True),
    Column("STATE", _state, whole=True),
    Column("CHECKED", _checked, "right", whole=True),
    Column("FOUND", _found),
)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Contracts in YAML (docs/contracts.md).")],
    started_after: options.After = None,
    started_before: options.Before = None,
    pipeline: options.Pipeline = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write the verdicts as JUnit XML as well.")
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Hold the contracts of a file against the stored runs; for CI.

    Exit codes: 0 all hold; 1 one is violated; 2 none is, and of one it cannot be told, or the file or
    an option is wrong.
    """
    document = _read(file)
    parameters = options.present(
        started_after=started_after, started_before=started_before, pipeline=pipeline
    )
    with ApiClient(url) as api:
        answer = api.send("POST", "contracts", "check", body=document, parameters=parameters)
    if junit is not None:
        junit.write_bytes(as_junit(answer["items"]))
    if as_json:
        print_json(answer)
    else:
        _print(answer["items"])
    if answer["state"] != "held":
        raise typer.Exit(EXIT_VIOLATED if answer["state"] == "violated" else EXIT_UNKNOWN)


@app.command("list")
def list_stored(as_json: options.Json = False, url: options.Url = options.DEFAULT_URL) -> None:
    """List the contracts that the server checks, with what it found last."""
    with ApiClient(url) as api:
        answer = api.get("contracts")
    if as_json:
        print_json(answer)
    elif answer["items"]:
        print_table(_STORED, answer["items"], console())
    else:
        print_line("No contract is stored.", console())


@app.command()
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Contracts in YAML (docs/contracts.md).")],
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Have the server check the contracts of a file every five minutes; the same id is replaced."""
    document = _read(file)
    with ApiClient(url) as api:
        for each in document["contracts"]:
            api.send("PUT", "contracts", each["id"], body=each)
            print_line(f"stored {each['id']}, and checked within a minute", console())


@app.command()
def delete(
    contract_id: Annotated[str, typer.Argument(metavar="CONTRACT", help="As in `xray contracts list`.")],
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Have the server forget a contract and what its checks found."""
    with ApiClient(url) as api:
        api.send("DELETE", "contracts", contract_id)


def as_junit(items: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the verdicts as a JUnit test suite; what is unknown is an error there, not a failure."""
    states = [item["state"] for item in items]
    suite = ElementTree.Element(
        "testsuite",
        name="xray contracts",
        tests=str(len(states)),
        failures=str(states.count("violated")),
        errors=str(states.count("unknown")),
    )
    for item in items:
        case = ElementTree.SubElement(suite, "testcase", classname="xray.contracts", name=item["id"])
        if item["state"] != "held":
            kind = "failure" if item["state"] == "violated" else "error"
            problem = ElementTree.SubElement(case, kind, message=item["said"])
            problem.text = "\n".join(_evidence(item, len(item["evidence"])))
    text: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text


def _read(file: Path) -> Any:
    # Here, because it loads the filter language, which no other command of a client needs.
    from api.contracts.declared import ContractProblem, contracts, load

    try:
        with file.open("rb") as opened:
            document = load(opened)
        contracts(document)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    except ContractProblem as error:
        raise UsageError(f"{file}: {error}") from error
    return document


def _print(items: Sequence[Mapping[str, Any]]) -> None:
    out = console()
    print_table(_COLUMNS, items, out)
    for item in items:
        if item["evidence"]:
            out.print()
            print_line(f"{item['id']}:", out)
            for line in _evidence(item, _NAMED):
                print_line(f"  {line}", out)


def _evidence(item: Mapping[str, Any], most: int) -> list[str]:
    lines = []
    for each in item["evidence"][:most]:
        line = f"run {each['run_id']}"
        if each["step_id"] is not None:
            line += f", step {each['step_id']}"
        if each["value"] is not None:
            line += f": {words.number(each['value'])}"
        lines.append(line)
    return lines
