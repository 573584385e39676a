"""Tables of access: who may send and ask, and the keys that all servers share."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from store.schema_columns import instant_column, key_column, metadata, ratio_column, text_column

server_secrets = Table(
    "server_secrets",
    metadata,
    key_column("name", Text),
    Column("value", LargeBinary, nullable=False),
    instant_column("created_at", nullable=False),
    comment="Random keys that all servers on this database share, such as the one that signs cursors.",
)

api_keys = Table(
    "api_keys",
    metadata,
    key_column("key_id", Text, "12 hex digits; part of the key itself, no secret"),
    text_column("name", nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the key's secret part"),
    Column("scopes", ARRAY(Text), nullable=False, comment="of ingest, read, admin"),
    ratio_column("rate_per_s", "requests per second and server process; null = the setting"),
    instant_column("created_at", nullable=False),
    instant_column("expires_at", "null = never"),
    instant_column("revoked_at", "null = not revoked"),
    instant_column("last_used_at", "to about a minute; null = never"),
    comment="Who may send and ask: API keys, each as the hash of its secret.",
)
