"""Functions whose value is not the same for everybody who computes it."""

from __future__ import annotations

from typing import Any

from pglast.visitors import Visitor

_VOLATILE = frozenset(
    {
        "now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday",
        "random", "gen_random_uuid", "uuidv7", "nextval", "currval", "lastval", "setval",
        "txid_current", "pg_current_xact_id", "current_setting",
    }
)  # fmt: skip


class _Calls(Visitor):
    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_FuncCall(self, _ancestors: Any, node: Any) -> None:  # noqa: N802 - pglast's name
        name = node.funcname[-1].sval
        if name in _VOLATILE:
            self.found.append(f"{name}()")

    def visit_SQLValueFunction(self, _ancestors: Any, node: Any) -> None:  # noqa: N802
        self.found.append(node.op.name.removeprefix("SVFOP_"))


def volatile_in(nodes: Any) -> list[str]:
    """Return the names of functions in the expressions that are not immutable."""
    calls = _Calls()
    for node in nodes or ():
        calls(node)
    return calls.found
