"""
The bound on the artifacts of one run.

Of more than may be stored those with the smallest keys stay, whatever came first, so that
neither order nor number of deliveries shows; the others stand in the loss ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from store.losses import LossState, loss_state
from store.rows import Loss
from store.statements import Item
from store.wire import array

DEFAULT_MAX_ARTIFACTS = 1_000
UNUSED_BLOBS = (
    "DELETE FROM artifact_blobs t USING unnest(%s, %s, %s) AS k (run_key, sha256, run_day)"
    " WHERE t.run_key = k.run_key AND t.sha256 = k.sha256 AND t.run_day = k.run_day AND NOT EXISTS"
    " (SELECT FROM artifacts a WHERE a.run_key = t.run_key AND a.run_day = t.run_day AND a.sha256 = t.sha256)"
)
"""Deletes payloads, by three arrays, that no artifact of their run has any more."""

_PAST_LIMIT = sql.SQL(
    "DELETE FROM artifacts t USING"
    " (SELECT a.run_key, a.run_day, a.artifact_key,"
    " row_number() OVER (PARTITION BY a.run_key ORDER BY a.artifact_key) AS place"
    " FROM unnest(%s, %s) AS k (run_key, run_day) JOIN artifacts a USING (run_key, run_day)) o"
    " WHERE o.place > %s AND t.run_key = o.run_key AND t.run_day = o.run_day"
    " AND t.artifact_key = o.artifact_key"
    " RETURNING t.run_key, t.run_day, t.artifact_key, t.sha256, t.step_id, t.attempt_key"
)


def trim(
    cursor: psycopg.Cursor[Any], runs: Iterable[bytes], days: Mapping[bytes, date], limit: int, now_us: int
) -> list[Item[LossState]]:
    """
    Delete the artifacts of these runs past the limit; return their losses, keys without ``run_day``.

    The runs' rows must be locked: two who add to one run would each see only their own.
    """
    keys = sorted(runs)
    asked = [array("uuid", keys), array("date", [days[key] for key in keys]), limit]
    cursor.execute(_PAST_LIMIT, asked, binary=True)
    past = cursor.fetchall()
    if not past:
        return []
    cursor.execute(
        UNUSED_BLOBS,
        [
            array("uuid", [row[0] for row in past]),
            array("bytea", [row[3] for row in past]),
            array("date", [row[1] for row in past]),
        ],
    )
    return [
        _lost(run_key, artifact_key, step_id, attempt_key, now_us)
        for run_key, _, artifact_key, _, step_id, attempt_key in past
    ]


def _lost(
    run_key: bytes, artifact_key: bytes, step_id: str | None, attempt_key: str | None, now_us: int
) -> Item[LossState]:
    # As ``losses.artifact_subject`` names it.
    subject = f"{step_id or ''}/{attempt_key or ''}/{artifact_key.hex()}"
    loss = Loss("", "over_limit", "artifacts", subject, 1, step_id, attempt_key)
    return Item((run_key, loss.cause, loss.what, subject), loss_state(loss, now_us), [])
