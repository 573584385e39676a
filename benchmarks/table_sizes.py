"""What tables occupy in Postgres, partitions summed up."""

from __future__ import annotations

from typing import NamedTuple, Self

import psycopg

TABLES = ("runs", "steps", "decisions")

_SIZES = """
    SELECT sum(pg_table_size(relation.oid) - toast.bytes)::bigint,
           sum(toast.bytes)::bigint,
           sum(pg_indexes_size(relation.oid))::bigint,
           sum(pg_total_relation_size(relation.oid))::bigint
      FROM pg_class AS relation
     CROSS JOIN LATERAL (
           SELECT coalesce(pg_total_relation_size(nullif(relation.reltoastrelid, 0)), 0)) AS toast (bytes)
     WHERE relation.oid IN (
           SELECT relid FROM pg_partition_tree(%(table)s::regclass) UNION SELECT %(table)s::regclass)
"""


class Size(NamedTuple):
    """Bytes of a table, or of its growth."""

    heap: int
    toast: int
    indexes: int
    total: int
    """``pg_total_relation_size``, the three others together."""

    def since(self, before: Self) -> Size:
        """The growth."""
        return Size(*(now - then for now, then in zip(self, before, strict=True)))


class Contents(NamedTuple):
    """How much of what we sent stands in the database."""

    steps: int
    decisions: int
    """Candidates with a decision, not rows."""


def sizes(url: str) -> dict[str, Size]:
    """The size of each table after VACUUM and CHECKPOINT."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM runs, steps, decisions")
        connection.execute("CHECKPOINT")
        found = {}
        for table in TABLES:
            row = connection.execute(_SIZES, {"table": table}).fetchone()
            assert row is not None  # an aggregate without GROUP BY
            found[table] = Size(*row)
        return found


def contents(url: str) -> Contents:
    """What stands in the tables."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM steps), (SELECT coalesce(sum(item_count), 0) FROM decisions)"
        ).fetchone()
        assert row is not None  # scalars
        return Contents(*map(int, row))


def server_version(url: str) -> str:
    """The version of the server, such as 17.10."""
    with psycopg.connect(url) as connection:
        return str(connection.info.parameter_status("server_version"))
