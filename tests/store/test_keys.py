"""API keys: made, stored, followed by running servers, and what the guard makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from store.access import request_ids
from store.access.guard import Denial, Guard
from store.access.keyring import KeyRing
from store.access.keys import CHANNEL, KeyTable, Scope
from store.errors import Unavailable
from tests.fixtures.waiting import wait_until

DEADLINE_S = 30.0


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def table(database_url: str) -> KeyTable:
    """The keys of the test's database."""
    return KeyTable(database_url)


@pytest.fixture
def ring(database_url: str) -> Iterator[KeyRing]:
    """The keys as a server follows them."""
    followed = KeyRing(database_url)
    followed.start()
    yield followed
    followed.close()


def knows(ring: KeyRing, key_id: str) -> Callable[[], bool]:
    return lambda: ring.find(key_id) is not None


def denial(guard: Guard, key: str | None, scope: Scope = Scope.INGEST) -> Denial | None:
    """Why a key sent as bearer token is turned away."""
    denied = guard.check(None if key is None else f"Bearer {key}", None, scope)
    return denied and denied.denial


def test_secret_is_not_stored(table: KeyTable, database_url: str) -> None:
    """A key has 160 random bits; the database has its id and a hash, in no column the secret."""
    key, text = table.create("shop", [Scope.INGEST], now=now())
    found = re.fullmatch(r"xray_([0-9a-f]{12})_([0-9a-f]{40})", text)
    assert found is not None
    assert found[1] == key.key_id
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT k::text FROM api_keys k").fetchall()
    assert len(rows) == 1
    assert found[2] not in rows[0][0]
    assert found[2].encode().hex() not in rows[0][0]
    (stored,) = table.list()
    assert stored.has(found[2])
    assert not stored.has(found[2][:-1] + ("0" if found[2][-1] != "0" else "1"))


def test_revoking_twice_keeps_the_first_time(table: KeyTable) -> None:
    """A key is revoked once; an id that nobody has is None."""
    key, _ = table.create("shop", [Scope.READ], now=now())
    first = now()
    assert table.revoke(key.key_id, now=first) == first
    assert table.revoke(key.key_id, now=first + timedelta(days=1)) == first
    assert table.revoke("feedfeedfeed", now=first) is None


def test_new_keys_and_revocations_reach_a_running_server(table: KeyTable, ring: KeyRing) -> None:
    """The notification is enough: no restart, no waiting for the next regular look."""
    key, _ = table.create("shop", [Scope.INGEST], now=now())
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    assert ring.has_key_for(Scope.INGEST)
    assert not ring.has_key_for(Scope.READ)
    table.revoke(key.key_id, now=now())
    wait_until(lambda: ring.find(key.key_id) is None, timeout_s=DEADLINE_S, what="the key is gone")


def test_changes_are_seen_without_notification(ring: KeyRing, table: KeyTable, database_url: str) -> None:
    """A change whose notification was lost is seen by the regular look."""
    key, _ = table.create("shop", [Scope.INGEST], now=now())
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE api_keys SET revoked_at = now()")
    wait_until(lambda: ring.find(key.key_id) is None, timeout_s=DEADLINE_S, what="the key is gone")


def test_use_is_noted_when_the_server_stops(table: KeyTable, database_url: str) -> None:
    """The last use is in the table after a stop, and an older one does not replace it."""
    key, text = table.create("shop", [Scope.INGEST], now=now())
    later = now() + timedelta(days=1)
    for use in (None, later, None):
        ring = KeyRing(database_url)
        ring.start()
        if use is None:
            assert denial(Guard(ring), text) is None
        else:
            ring.note_use(key.key_id, use)
        ring.close()
    assert table.list()[0].last_used_at == later


def test_scopes(table: KeyTable, database_url: str) -> None:
    """A key is good for its scopes; admin includes the others."""
    made = {scope: table.create(scope, [scope], now=now())[1] for scope in Scope}
    ring = KeyRing(database_url)
    ring.start()
    guard = Guard(ring)
    let_in = {(have, need) for have in Scope for need in Scope if denial(guard, made[have], need) is None}
    ring.close()
    assert let_in == {(scope, scope) for scope in Scope} | {(Scope.ADMIN, scope) for scope in Scope}
    assert denial(guard, made[Scope.READ], Scope.INGEST) is Denial.WRONG_SCOPE


def test_the_longest_wait_can_be_said(table: KeyTable, database_url: str) -> None:
    """However low the rate of a key, what is asked of it is a number of seconds."""
    _key, text = table.create("slow", [Scope.INGEST], rate_per_s=5e-324, now=now())
    ring = KeyRing(database_url)
    ring.start()
    guard = Guard(ring)
    assert denial(guard, text) is None
    denied = guard.check(f"Bearer {text}", None, Scope.INGEST)
    ring.close()
    assert denied is not None
    assert denied.retry_after_s == 86_400.0


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda text: None,
        lambda text: "",
        lambda text: "secret",
        lambda text: text[:-1],
        lambda text: text[:-2] + ("aa" if text[-2:] != "aa" else "bb"),
        lambda text: text.upper(),
        lambda text: "xray_feedfeedfeed" + text[17:],
        lambda text: text + "\x00",
    ],
    ids=["none", "empty", "no key", "short", "other secret", "upper case", "other id", "with nul"],
)
def test_what_is_no_key(table: KeyTable, ring: KeyRing, spoiled: Callable[[str], str | None]) -> None:
    """Anything but a whole key that is known is turned away, and coming again will not help."""
    key, text = table.create("shop", [Scope.INGEST], now=now())
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    sent = spoiled(text)
    denied = Guard(ring).check(sent and f"Bearer {sent}", None, Scope.INGEST)
    assert denied is not None
    assert (denied.denial, denied.retry_after_s) == (Denial.NO_KEY, None)
    assert text[18:] not in denied.message
    assert denial(Guard(ring), text) is None


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [("Bearer {}", None), ("bearer {}", None), (None, "{}"), ("Basic dTpw", "{}"), ("Bearer  {} ", "")],
)
def test_both_headers_carry_a_key(
    table: KeyTable, ring: KeyRing, authorization: str | None, x_api_key: str | None
) -> None:
    """Authorization as bearer, or x-api-key, which leaves Authorization to a proxy."""
    key, text = table.create("shop", [Scope.INGEST], now=now())
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    sent = [value and value.format(text) for value in (authorization, x_api_key)]
    assert Guard(ring).check(sent[0], sent[1], Scope.INGEST) is None


def test_expired_key(table: KeyTable, ring: KeyRing) -> None:
    """A key is over from its time on, without anybody looking at the table."""
    key, text = table.create("shop", [Scope.INGEST], now=now(), expires_at=now() - timedelta(seconds=1))
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    assert denial(Guard(ring), text) is Denial.NO_KEY
    assert not ring.has_key_for(Scope.INGEST)


def test_rate_of_a_key(table: KeyTable, ring: KeyRing) -> None:
    """A key may make its own rate or the default one; after the wait that it is told it gets in again."""
    own, own_text = table.create("own", [Scope.INGEST], now=now(), rate_per_s=2.0)
    default, default_text = table.create("default", [Scope.INGEST], now=now())
    for key in (own, default):
        wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")
    time_s = [100.0]
    guard = Guard(ring, rate_per_s=0.5, clock=lambda: time_s[0])
    assert [denial(guard, own_text) for _ in range(3)] == [None, None, Denial.TOO_MANY]
    assert [denial(guard, default_text) for _ in range(2)] == [None, Denial.TOO_MANY]
    denied = guard.check(None, default_text, Scope.INGEST)
    assert denied is not None
    assert denied.retry_after_s == pytest.approx(2.0)
    time_s[0] += 2.0
    assert [denial(guard, default_text) for _ in range(2)] == [None, Denial.TOO_MANY]
    # A long silence saves up one second's worth, no more.
    time_s[0] += 1000.0
    assert [denial(guard, own_text) for _ in range(3)] == [None, None, Denial.TOO_MANY]


def test_database_away(database_url: str, table: KeyTable) -> None:
    """Known keys go on for a bounded time, unknown ones are undecided, and all is well when it is back."""
    _, text = table.create("shop", [Scope.INGEST], now=now())
    unknown = f"xray_feedfeedfeed_{text[18:]}"
    rings = KeyRing(database_url, fresh_s=0.5), KeyRing(database_url, fresh_s=0.5, trusted_s=0.5)
    for ring in rings:
        ring.start()
    guard, wary = map(Guard, rings)
    name = database_url.partition("?")[0].rpartition("/")[2]
    server = database_url.replace(f"/{name}", "/postgres", 1)
    with psycopg.connect(server, autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        wait_until(
            lambda: denial(guard, unknown) is Denial.UNDECIDED,
            timeout_s=DEADLINE_S,
            what="an unknown key is undecided",
        )
        denied = guard.check(None, unknown, Scope.INGEST)
        assert denied is not None
        assert denied.retry_after_s
        assert denial(guard, "no key at all") is Denial.NO_KEY
        wait_until(
            lambda: denial(wary, text) is Denial.UNDECIDED,
            timeout_s=DEADLINE_S,
            what="a known key is undecided",
        )
        assert denial(guard, text) is None
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    wait_until(
        lambda: denial(guard, unknown) is Denial.NO_KEY,
        timeout_s=DEADLINE_S,
        what="the database is asked again",
    )
    assert denial(guard, text) is None
    for ring in rings:
        ring.close()


def test_start_needs_the_table(empty_database_url: str) -> None:
    """A server that cannot read the keys does not start; one that is closed twice does not mind."""
    ring = KeyRing(empty_database_url)
    with pytest.raises(Unavailable):
        ring.start()
    ring.close()


def test_a_flood_of_notifications_is_survived(ring: KeyRing, table: KeyTable, database_url: str) -> None:
    """Many changes at once end in the last state."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(500):
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(number)))
    key, _ = table.create("shop", [Scope.INGEST], now=now())
    wait_until(knows(ring, key.key_id), timeout_s=DEADLINE_S, what="the new key is known")


@pytest.mark.parametrize("sent", [None, "", "a b", "a\nb", "é", "x" * 65, "a;b", "${x}"])
def test_request_ids_that_are_not_taken_over(sent: str | None) -> None:
    """What could spoil a log line or a header gets an id of ours."""
    assert re.fullmatch(r"[0-9a-f]{32}", request_ids.begin(sent))


def test_request_ids_that_are_taken_over() -> None:
    """A sender's own id stays, so that both logs can be joined by it."""
    assert request_ids.begin("order-17.a_B") == "order-17.a_B"
    assert request_ids.current.get() == "order-17.a_B"
