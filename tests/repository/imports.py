"""Reads which packages of ours a source file imports, at any depth in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ALLOWED: dict[str, frozenset[str]] = {
    "xray_otel": frozenset({"xray_otel"}),
    "store": frozenset({"store"}),
    "collector": frozenset({"collector", "store", "xray_otel.semconv"}),
    "api": frozenset({"api", "store", "xray_otel.semconv"}),
    "cli": frozenset({"cli", "collector", "store", "api", "xray_otel.semconv", "xray_otel._version"}),
    "examples": frozenset({"examples", "xray_otel"}),
    "semconv": frozenset({"semconv"}),
}
"""Package → what of ours its modules may import. ARCHITECTURE.md says why."""

OURS = frozenset(ALLOWED) | {"tests", "benchmarks"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of each import of ours in a file, inside functions and type checks too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            # "from xray_otel import semconv" imports xray_otel.semconv.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in OURS)


def violations(root: Path) -> list[str]:
    """Return "path:line imports name" for each import against the direction, sorted."""
    found = []
    for package, allowed in ALLOWED.items():
        for path in sorted((root / package).rglob("*.py")):
            for line, name in imported(path):
                if not any(name == one or name.startswith(f"{one}.") for one in allowed):
                    found.append(f"{path.relative_to(root)}:{line} imports {name}")
    return found
