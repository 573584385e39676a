"""Which tables of a migrated database an engine that shards by ``run_key`` would refuse."""

# ruff: noqa: E501 - a statement is a line

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import psycopg


class Rule(NamedTuple):
    """A rule of the catalog."""

    name: str
    query: str
    """Gives (table, what) for each breach; takes ``distributed`` and ``reference``, names of tables.

    That a key holds the partition column, PostgreSQL sees to itself.
    """


_OF = "FROM pg_class t WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY (%(distributed)s::text[])"

RULES = (
    Rule("no-key", f"SELECT t.relname, 'no primary key' {_OF}"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)"),
    Rule("key-first", "SELECT t.relname, c.relname FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid"
        " JOIN pg_class c ON c.oid = i.indexrelid"
        " LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY (%(distributed)s::text[])"
        " AND (i.indisunique OR i.indisexclusion) AND a.attname IS DISTINCT FROM 'run_key'"),
    Rule("key-type", "SELECT t.relname, format_type(a.atttypid, a.atttypmod) FROM pg_class t"
        " LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'run_key'"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY (%(distributed)s::text[])"
        " AND (a.atttypid IS DISTINCT FROM 'uuid'::regtype OR NOT a.attnotnull)"),
    Rule("foreign-key", "SELECT t.relname, c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
        " JOIN pg_class f ON f.oid = c.confrelid"
        " CROSS JOIN LATERAL (SELECT array_agg(a.attname) FILTER (WHERE k.side = 1) AS ours,"
        " array_agg(a.attname) FILTER (WHERE k.side = 2) AS theirs FROM"
        " (SELECT 1 AS side, c.conrelid AS rel, unnest(c.conkey) AS num"
        " UNION ALL SELECT 2, c.confrelid, unnest(c.confkey)) k"
        " JOIN pg_attribute a ON a.attrelid = k.rel AND a.attnum = k.num) k"
        " WHERE c.contype = 'f' AND t.relnamespace = 'public'::regnamespace"
        " AND ((t.relname = ANY (%(distributed)s::text[]) AND NOT f.relname = ANY (%(reference)s::text[])"
        " AND NOT (f.relname = ANY (%(distributed)s::text[]) AND 'run_key' = ANY (k.ours) AND 'run_key' = ANY (k.theirs)"
        " AND c.confdeltype <> 'n'))"
        " OR (t.relname <> ALL (%(distributed)s::text[]) AND f.relname = ANY (%(distributed)s::text[])))"),
    Rule("trigger", "SELECT t.relname, g.tgname FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid"
        " WHERE NOT g.tgisinternal AND t.relname = ANY (%(distributed)s::text[] || %(reference)s::text[])"),
    Rule("sequence", "SELECT t.relname, a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid"
        " LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum"
        " WHERE t.relname = ANY (%(distributed)s::text[]) AND a.atttypid <> 'bigint'::regtype AND NOT a.attisdropped"
        " AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%%')"),
    Rule("levels", "SELECT t.relname, c.relname FROM pg_inherits i JOIN pg_class t ON t.oid = i.inhparent"
        " JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE t.relname = ANY (%(distributed)s::text[]) AND c.relkind = 'p'"),
    Rule("partition", "SELECT t.relname, pg_get_partkeydef(t.oid)"
        " FROM pg_partitioned_table p JOIN pg_class t ON t.oid = p.partrelid"
        " WHERE t.relname = ANY (%(distributed)s::text[]) AND pg_get_partkeydef(t.oid) <> 'RANGE (run_day)'"),
    Rule("compression", "SELECT t.relname, a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid"
        " WHERE t.relname = ANY (%(distributed)s::text[]) AND a.attcompression <> ''"),
)  # fmt: skip


def breaches(
    connection: psycopg.Connection[Any], distributed: Collection[str], reference: Iterable[str]
) -> set[tuple[str, str, str]]:
    """Return (rule, table, what) for everything that would be refused."""
    names = {"distributed": list(distributed), "reference": list(reference)}
    return {
        (rule.name, table, what) for rule in RULES for table, what in connection.execute(rule.query, names)
    }
