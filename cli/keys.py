"""
``xray keys``: make, list and revoke the API keys of the database.

What brings the database with it is imported in the commands, not at the top, so that `xray runs` need
not wait for it.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import words
from cli.errors import Failure, UsageError
from cli.progress import on_stderr
from cli.tables import Column, console, print_json, print_table

if TYPE_CHECKING:
    from store.access.keys import ApiKey, KeyTable, Scope

_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

app = typer.Typer(help="API keys: who may send and who may read.", no_args_is_help=True)

_MAX_NAME = 100
_MAX_RATE_PER_S = 1_000_000.0
_LONGEST = timedelta(days=100 * 366)
_AGE = re.compile(r"([1-9][0-9]{0,4})([dh])")
_COLUMNS = (
    Column("ID", lambda key: key["id"], whole=True),
    Column("NAME", lambda key: key["name"]),
    Column("SCOPES", lambda key: ",".join(key["scopes"]), whole=True),
    Column("STATE", lambda key: key["state"], whole=True),
    Column("LAST USED", lambda key: words.ago(key["last_used_at"]), "right", whole=True),
    Column("RATE", lambda key: words.number(key["rate_per_s"]), "right", wide=True, whole=True),
    Column("CREATED", lambda key: words.ago(key["created_at"]), "right", wide=True, whole=True),
    Column("EXPIRES", lambda key: words.text(key["expires_at"]), wide=True, whole=True),
)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who will use it: a service, a person, a place.")],
    scope: Annotated[
        str,
        typer.Option(help="ingest (send), read (ask), admin (both, and what is neither); comma-separated."),
    ],
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="N/s", help="Requests per second, in each server process; else XRAY_RATE_LIMIT."
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="90d, 12h or an RFC 3339 time; else never.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """
    Make a key and print it on stdout: this once, the database keeps a hash of it only.

    `export XRAY_API_KEY=$(xray keys create --name shop --scope ingest)`

    Running servers know it at once, behind a connection pooler within 5 s.
    """
    now = datetime.now(UTC)
    scopes, rate_per_s, expires_at = _scopes(scope), _rate_per_s(rate), _expiry(expires, now)
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise UsageError(f"--name {name[:_MAX_NAME]!r}: 1 to {_MAX_NAME} printable characters are accepted")
    with _tables(prepare=True) as table:
        key, text = table.create(name, scopes, rate_per_s=rate_per_s, expires_at=expires_at, now=now)
    if as_json:
        print_json({**_shown(key, now), "key": text})
        return
    typer.echo(text)
    on_stderr()(f"key {key.key_id} made; keep what stands above, it cannot be shown again")


@app.command(name="list")
def list_(as_json: _Json = False) -> None:
    """List the keys, revoked and expired ones too, oldest first. What they end in is not known here."""
    now = datetime.now(UTC)
    with _tables() as table:
        keys = [_shown(key, now) for key in table.list()]
    if as_json:
        print_json({"items": keys})
    elif keys:
        print_table(_COLUMNS, keys, console())
    else:
        console().print("No key was made yet.")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `xray keys list` shows it.")],
) -> None:
    """Revoke a key for good. Running servers refuse it at once, behind a connection pooler within 5 s."""
    with _tables() as table:
        since = table.revoke(key_id, now=datetime.now(UTC))
    if since is None:
        raise Failure(f"no key has the id {key_id!r}; `xray keys list` shows them")
    typer.echo(f"key {key_id} is revoked since {since.astimezone(UTC).isoformat(timespec='seconds')}")


def _scopes(text: str) -> list[Scope]:
    from store.access.keys import Scope  # as above

    given = [word.strip() for word in text.split(",")]
    if not set(given) <= set(Scope):
        accepted = ", ".join(Scope)
        raise UsageError(f"--scope {text!r}: one or more of {accepted} are accepted, separated by commas")
    return sorted(set(map(Scope, given)))


def _rate_per_s(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate <= _MAX_RATE_PER_S:
        raise UsageError(
            f"--rate {text!r}: a number above 0 and up to {_MAX_RATE_PER_S:.0f}/s is accepted, as 50/s"
        )
    return rate


def _expiry(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    if found := _AGE.fullmatch(text):
        return now + (timedelta(days=int(found[1])) if found[2] == "d" else timedelta(hours=int(found[1])))
    try:
        expiry = datetime.fromisoformat(text)
    except ValueError:
        expiry = now
    if expiry.tzinfo is None or not now < expiry < now + _LONGEST:
        raise UsageError(
            f"--expires {text!r}: 90d, 12h or a time to come like 2030-01-31T00:00:00Z is accepted"
        )
    return expiry


def _tables(*, prepare: bool = False) -> AbstractContextManager[KeyTable]:
    from cli.key_table import open_keys  # as above

    return open_keys(prepare=prepare)


def _shown(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "revoked" if key.revoked_at else "expired" if key.is_over(now) else "active"
    times = {
        name: at and at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        for name, at in (
            ("created_at", key.created_at),
            ("expires_at", key.expires_at),
            ("revoked_at", key.revoked_at),
            ("last_used_at", key.last_used_at),
        )
    }
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": state,
        "rate_per_s": key.rate_per_s,
        **times,
    }
