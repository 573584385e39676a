"""
Which SQL statements a store that is distributed by ``run_key`` would refuse, told from their text.

The grammar is PostgreSQL's own (pglast). Equalities that must hold for a row to be found are followed
through joins and subqueries to ``run_key`` of the tables; what is not understood counts as no equality.
An equality of a subquery counts for the level around it too, whatever stands between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pglast
from pglast import enums

from store.schema import DISTRIBUTED_TABLES, PARTITIONED_TABLES, REFERENCE_TABLES, metadata
from tests.lints.allowed import ALLOWED as ALLOWED
from tests.lints.volatile import volatile_in

ast: Any = pglast.ast
"""By its types every field may be absent; the grammar says which are not."""
_DISTRIBUTED = frozenset(table.name for table in DISTRIBUTED_TABLES)
_REFERENCE = frozenset(table.name for table in REFERENCE_TABLES)
_LOCAL = frozenset(metadata.tables) - _DISTRIBUTED - _REFERENCE
_PARTITION = re.compile(rf"^({'|'.join(table.name for table in PARTITIONED_TABLES)})_p\d{{8}}$")
_KEY = "run_key"

Column = tuple[int, str, str]
"""Number of the scope, alias, column."""


class Finding(NamedTuple):
    """One breach of a rule."""

    rule: str
    what: str


class Look(NamedTuple):
    """What a statement is."""

    kind: str
    """``run``: of runs that it names, one by one; ``fleet``: of any; ``other``: of no distributed table."""
    findings: frozenset[Finding]


def look_at(text: str) -> Look:
    """Class one or more statements, and name what is refused. Raises ``pglast.Error``."""
    kinds: set[str] = set()
    findings: set[Finding] = set()
    for raw in pglast.parse_sql(text):
        look = _Statement().look(raw.stmt)
        kinds.add(look.kind)
        findings |= look.findings
    kind = next((kind for kind in ("fleet", "run") if kind in kinds), "other")
    return Look(kind, frozenset(findings))


class _Relation(NamedTuple):
    keys: frozenset[Column]
    """``run_key`` of the distributed tables in it, or that it is made of."""
    base: bool
    """A table, not a subquery."""


class _Scope:
    """The names of one level of a statement."""

    def __init__(self, number: int, outer: _Scope | None) -> None:
        self.number = number
        self.outer = outer
        self.relations: dict[str, _Relation] = {}
        self.looks_out = False
        """Whether it names a column of a level outside."""

    def keys_of(self, names: Iterable[str]) -> frozenset[Column]:
        """``run_key`` of the distributed tables in some of its relations."""
        return frozenset(key for name in names for key in self.relations[name].keys)


class _Statement:
    def __init__(self) -> None:
        self._same: dict[Column, Column] = {}
        self._given: set[Column] = set()
        self._ctes: dict[str, Any] = {}
        self._open: set[str] = set()
        self._scopes = 0
        self._tables: set[str] = set()
        self._findings: list[Finding] = []
        """Of statements across runs only: dropped in the end when each run is named."""
        self._always: list[Finding] = []
        self._pending: list[tuple[Finding, frozenset[Column], frozenset[Column]]] = []
        """What is wrong unless one of the first is known, when all is read, to equal one of the second."""
        self._all: set[Column] = set()

    def look(self, node: Any) -> Look:
        if isinstance(node, ast.AlterTableStmt):
            self._alter(node)
        elif isinstance(node, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
            self._query(node, None)
        elif isinstance(node, ast.MergeStmt):
            self._query(node, None)
            if self._all:
                self._always.append(Finding("merge", "MERGE into or from a distributed table"))
        if not self._all:
            return Look("other", frozenset(self._always))
        if local := sorted(self._tables & _LOCAL):
            self._always.append(Finding("local", f"{', '.join(local)} is on the coordinator alone"))
        found = list(self._always)
        if not all(self._root(key) in map(self._root, self._given) for key in self._all):
            found += self._findings
            found += [each for each, some, others in self._pending if not self._linked(some, others)]
            return Look("fleet", frozenset(found))
        return Look("run", frozenset(found))

    # One level of a statement

    def _query(self, node: Any, outer: _Scope | None) -> dict[str, Column]:
        """Read one level and what is below it; return its columns by their names."""
        self._with(node, outer)
        if isinstance(node, ast.SelectStmt) and node.op != enums.SetOperation.SETOP_NONE:
            left = self._query(node.larg, outer)
            for name, column in zip(left, self._query(node.rarg, outer).values(), strict=False):
                self._equal(left[name], column)
            return left
        self._scopes += 1
        scope = _Scope(self._scopes, outer)
        target = getattr(node, "relation", None)
        # What is only inserted into is not read together with the rest.
        if target is not None and not (isinstance(node, ast.InsertStmt) and target.relname in _LOCAL):
            self._from(target, scope)
        sources: Any = getattr(node, "fromClause", None) or getattr(node, "usingClause", None) or ()
        if isinstance(node, ast.MergeStmt):
            sources = (node.sourceRelation,)
        for item in sources:
            self._from(item, scope)
        self._conjuncts(getattr(node, "whereClause", None), scope)
        self._expressions(node, scope)
        if isinstance(node, ast.InsertStmt) and node.selectStmt is not None:
            self._query(node.selectStmt, outer)
        self._rules(node, scope)
        return self._outputs(node, scope)

    def _with(self, node: Any, outer: _Scope | None) -> None:
        clause = getattr(node, "withClause", None)
        if clause is None:
            return
        if clause.recursive:
            self._findings.append(Finding("recursive", "WITH RECURSIVE across runs"))
        for each in clause.ctes:
            self._ctes[each.ctename] = each.ctequery
            if not isinstance(each.ctequery, ast.SelectStmt):
                self._query(each.ctequery, outer)

    def _from(self, item: Any, scope: _Scope) -> frozenset[str]:
        """Add what stands in FROM; return its aliases."""
        if isinstance(item, ast.JoinExpr):
            return self._join(item, scope)
        alias = item.alias.aliasname if getattr(item, "alias", None) else None
        if isinstance(item, ast.RangeVar):
            return self._table(item, alias or item.relname, scope)
        alias = alias or f"unnamed {len(scope.relations)}"
        if isinstance(item, ast.RangeSubselect):
            self._sub(item.subquery, alias, scope)
        else:
            scope.relations[alias] = _Relation(frozenset(), False)
            self._expressions(item, scope)
        return frozenset({alias})

    def _table(self, item: Any, alias: str, scope: _Scope) -> frozenset[str]:
        name = found[1] if (found := _PARTITION.match(item.relname)) else item.relname
        if name in self._ctes and item.schemaname is None:
            if name in self._open or not isinstance(self._ctes[name], ast.SelectStmt):
                scope.relations[alias] = _Relation(frozenset(), False)
                return frozenset({alias})
            self._open.add(name)
            self._sub(self._ctes[name], alias, scope)
            self._open.discard(name)
            return frozenset({alias})
        self._tables.add(name)
        key = (scope.number, alias, _KEY)
        distributed = name in _DISTRIBUTED
        scope.relations[alias] = _Relation(frozenset({key} if distributed else ()), distributed)
        if distributed:
            self._all.add(key)
        return frozenset({alias})

    def _sub(self, query: Any, alias: str, scope: _Scope) -> None:
        before = set(self._all)
        for name, column in self._query(query, scope).items():
            self._equal((scope.number, alias, name), column)
        scope.relations[alias] = _Relation(frozenset(self._all - before), False)

    def _join(self, item: Any, scope: _Scope) -> frozenset[str]:
        left = self._from(item.larg, scope)
        right = self._from(item.rarg, scope)
        for column in item.usingClause or ():
            for one in left:
                for other in right:
                    self._equal((scope.number, one, column.sval), (scope.number, other, column.sval))
        self._conjuncts(item.quals, scope)
        if item.quals is not None:
            self._expressions(item.quals, scope)
        if item.jointype != enums.JoinType.JOIN_INNER:
            ours, theirs = scope.keys_of(left), scope.keys_of(right)
            # Two subqueries that are not joined by run are each computed first.
            if ours and theirs and any(scope.relations[name].base for name in left | right):
                said = Finding("outer-join", f"{', '.join(sorted(left))} and {', '.join(sorted(right))}")
                self._pending.append((said, ours, theirs))
        return left | right

    def _conjuncts(self, node: Any, scope: _Scope) -> None:
        """Note what must be equal for the condition to hold."""
        if isinstance(node, ast.BoolExpr) and node.boolop == enums.BoolExprType.AND_EXPR:
            for part in node.args:
                self._conjuncts(part, scope)
        elif (
            isinstance(node, ast.A_Expr)
            and node.kind == enums.A_Expr_Kind.AEXPR_OP
            and node.name[-1].sval == "="
        ):
            for one, other in (
                zip(node.lexpr.args, node.rexpr.args, strict=True)
                if isinstance(node.lexpr, ast.RowExpr) and isinstance(node.rexpr, ast.RowExpr)
                else [(node.lexpr, node.rexpr)]
            ):
                self._equality(one, other, scope)

    def _equality(self, one: Any, other: Any, scope: _Scope) -> None:
        columns = [self._column(side, scope) for side in (one, other)]
        if columns[0] and columns[1]:
            self._equal(columns[0], columns[1])
        for column, side in zip(columns, (other, one), strict=True):
            while isinstance(side, ast.TypeCast):
                side = side.arg
            if column and isinstance(side, ast.ParamRef | ast.A_Const):
                self._given.add(column)

    def _column(self, node: Any, scope: _Scope) -> Column | None:
        """The column that is named, wherever it comes from; None for what is no column."""
        if not isinstance(node, ast.ColumnRef) or isinstance(node.fields[-1], ast.A_Star):
            return None
        *qualifier, name = [part.sval for part in node.fields]
        level: _Scope | None = scope
        while level is not None:
            if not qualifier:
                # Of several, the first that is a table of ours; else whichever: nothing follows from it.
                names = [alias for alias, relation in level.relations.items() if relation.keys]
                if names or level.relations:
                    return (level.number, (names or list(level.relations))[0], name)
            elif qualifier[-1] in level.relations:
                if level is not scope:
                    self._look_out(scope, level)
                return (level.number, qualifier[-1], name)
            level = level.outer
        return None

    @staticmethod
    def _look_out(scope: _Scope | None, level: _Scope) -> None:
        while scope is not None and scope is not level:
            scope.looks_out = True
            scope = scope.outer

    def _expressions(self, node: Any, scope: _Scope) -> None:
        """Read the subqueries in expressions, and note which columns of outer levels are named."""
        for child in _children(node):
            if isinstance(child, ast.SubLink):
                self._sublink(child, scope)
            elif isinstance(child, ast.ColumnRef):
                self._column(child, scope)
            elif not isinstance(
                child, ast.JoinExpr | ast.RangeSubselect | ast.RangeVar | ast.WithClause | ast.SelectStmt
            ):
                self._expressions(child, scope)

    def _sublink(self, link: Any, scope: _Scope) -> None:
        if link.testexpr is not None:
            self._expressions((link.testexpr,), scope)
        self._query(link.subselect, scope)

    def _rules(self, node: Any, scope: _Scope) -> None:
        keys = scope.keys_of(scope.relations)
        bases = sorted(name for name, relation in scope.relations.items() if relation.base)
        for one, other in pairwise(bases):
            said = Finding("join", f"{one} and {other}")
            self._pending.append((said, scope.relations[one].keys, scope.relations[other].keys))
        if scope.looks_out and keys:
            level, outside = scope.outer, frozenset[Column]()
            while level is not None:
                outside |= level.keys_of(level.relations)
                level = level.outer
            for name in sorted(scope.relations):
                if inside := scope.relations[name].keys:
                    self._pending.append((Finding("correlated", name), inside, outside))
        if keys and any(isinstance(each, ast.GroupingSet) for each in getattr(node, "groupClause", ()) or ()):
            self._findings.append(Finding("grouping-sets", "GROUPING SETS, ROLLUP or CUBE across runs"))
        for clause in getattr(node, "lockingClause", ()) or ():
            names = [each.relname for each in clause.lockedRels or ()] or list(scope.relations)
            if locked := [name for name in names if scope.relations[name].keys]:
                self._findings.append(Finding("row-locks", f"{', '.join(locked)} of several runs"))
        if isinstance(node, ast.InsertStmt | ast.UpdateStmt) and node.relation.relname in _DISTRIBUTED:
            self._written(node)

    def _written(self, node: Any) -> None:
        name = node.relation.relname
        if isinstance(node, ast.UpdateStmt) and any(target.name == _KEY for target in node.targetList):
            self._always.append(Finding("key-update", name))
        conflict = getattr(node, "onConflictClause", None)
        for volatile in volatile_in(conflict.targetList if conflict is not None else ()):
            self._always.append(Finding("volatile-upsert", f"{volatile} in DO UPDATE of {name}"))

    def _outputs(self, node: Any, scope: _Scope) -> dict[str, Column]:
        found: dict[str, Column] = {}
        if isinstance(node, ast.SelectStmt):
            targets = node.targetList or ()
        else:
            targets = getattr(node, "returningList", None) or ()
        for target in targets:
            if not isinstance(target.val, ast.ColumnRef):
                # Its place counts where sets are united.
                found[target.name or f"column {len(found)}"] = (scope.number, "", f"{len(found)}")
            elif isinstance(target.val.fields[-1], ast.A_Star):
                for name in [target.val.fields[0].sval] if len(target.val.fields) > 1 else scope.relations:
                    found.setdefault(_KEY, (scope.number, name, _KEY))
            elif column := self._column(target.val, scope):
                found[target.name or column[2]] = column
        return found

    def _alter(self, node: Any) -> None:
        for command in node.cmds or ():
            concurrent = isinstance(command.def_, ast.PartitionCmd) and command.def_.concurrent
            if node.relation.relname in _DISTRIBUTED and concurrent:
                self._always.append(Finding("detach-concurrently", node.relation.relname))

    # Which columns are equal

    def _root(self, column: Column) -> Column:
        while (next_one := self._same.get(column, column)) != column:
            column = next_one
        return column

    def _equal(self, one: Column, other: Column) -> None:
        one, other = self._root(one), self._root(other)
        if one != other:
            self._same[one] = other

    def _linked(self, some: Iterable[Column], others: Iterable[Column]) -> bool:
        return not {self._root(each) for each in some}.isdisjoint(self._root(each) for each in others)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, tuple | list):
        for each in node:
            if isinstance(each, tuple | list):
                yield from _children(each)
            elif isinstance(each, ast.Node):
                yield each
    elif isinstance(node, ast.Node):
        for name in node:
            value = getattr(node, name)
            if isinstance(value, ast.Node):
                yield value
            elif isinstance(value, tuple | list):
                yield from _children(value)
