"""What migrations must not do: told from the SQL that they send."""

# ruff: noqa: E501 - a statement is a line

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ENGINE_BOUND = (
    ("COMPRESSION", r"\bCOMPRESSION\s+(?!NULL)"),
    ("USING", r"\bCREATE\s+(?:UNLOGGED\s+)?(?:TABLE|MATERIALIZED VIEW)\b[^;]*\)\s*(?:PARTITION BY[^;]*?)?USING\s+\w+"),
    ("TABLESPACE", r"\bTABLESPACE\b"),
    ("trigger", r"\bCREATE\s+(?:OR REPLACE\s+)?(?:CONSTRAINT\s+)?TRIGGER\b"),
)  # fmt: skip
"""They do not run on every server that is promised, or not on a distributed one."""

_BREAKS_BEFORE = (
    ("drop column", r"\bALTER TABLE\b.*\bDROP COLUMN\b"),
    ("rename", r"\bALTER (?:TABLE|VIEW)\b.*\bRENAME\b"),
    ("type", r"\bALTER TABLE\b.*\bALTER (?:COLUMN\s+)?\S+\s+(?:SET DATA\s+)?TYPE\b"),
    ("not null", r"\bALTER TABLE\b.*\bSET NOT NULL\b"),
    ("column without default", r"\bALTER TABLE\b.*\bADD (?:COLUMN\s+)?(?!CONSTRAINT)(?=.*\bNOT NULL\b)(?!.*\bDEFAULT\b)"),
    ("drop table", r"\bDROP TABLE\b"),
    ("drop view", r"\bDROP VIEW\b"),
    ("constraint", r"\bALTER TABLE\b.*\bADD CONSTRAINT\b(?!.*\bNOT VALID\b)"),
)  # fmt: skip
"""A server of the version before goes on writing and reading while and after a migration runs."""


class Breach(NamedTuple):
    """What is wrong with a statement."""

    rule: str
    statement: str


def breaches(statements: str, *, additive: bool) -> Iterator[Breach]:
    """Look at the SQL of an upgrade; additive: the version before must go on working."""
    rules = [*_ENGINE_BOUND, *(_BREAKS_BEFORE if additive else ())]
    for statement in statements.split(";"):
        text = re.sub(r"'(?:[^']|'')*'", "''", " ".join(statement.split()))
        for rule, pattern in rules:
            if re.search(pattern, text, re.IGNORECASE):
                yield Breach(rule, text.strip())
