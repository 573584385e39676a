"""
The YAML file of a team's mapping, read and checked at start.

Read as nodes, not as values: so every complaint names the line, and a key that stands twice is
seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from collector.extract.vocabulary import SLOT_OF
from collector.inference.mapping import ANY, StepRule, TeamMapping, name_pattern
from store.errors import SettingsError
from xray_otel import semconv

VERSION: Final = 1
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_NEEDLES: Final = 8
"""Each is looked for in every span: 30 to 60 ns."""

_PREFIXES = (semconv.METRIC_PREFIX, semconv.RUN_TAG_PREFIX)
_OURS = frozenset(
    value
    for constant, value in vars(semconv).items()
    if isinstance(value, str)
    and not constant.startswith("EVENT_")
    and (value.startswith("xray.") or constant.startswith(("GEN_AI_", "ERROR_")))
    and not value.endswith(".")
)
_READ_ALREADY = frozenset(name for name in SLOT_OF if not name.startswith("xray."))
_ACCEPTED_TYPES = f"a step type ({', '.join(sorted(semconv.STEP_TYPES))})"


MAPPING_FORM: Final = "a YAML file in the form of docs/mapping.md"


class MappingError(Exception):
    """The file is not a mapping; the message says where and what is accepted."""


class MappingRefused(SettingsError):
    """``XRAY_MAPPING`` names a file that is not a mapping."""

    def __init__(self, path: Path, problem: MappingError) -> None:
        super().__init__("XRAY_MAPPING", path, MAPPING_FORM)
        self.args = (f"XRAY_MAPPING={str(path)!r}: {problem}; {MAPPING_FORM} is accepted",)


def accepted(path: Path) -> TeamMapping:
    """Return the mapping of the file that the setting names. Raises ``MappingRefused``."""
    try:
        return load(path)
    except MappingError as exc:
        raise MappingRefused(path, exc) from None


def load(path: Path) -> TeamMapping:
    """Return the mapping of a file. Raises ``MappingError``."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise MappingError(f"it cannot be read ({exc.strerror or exc})") from None
    if len(raw) > MAX_FILE_BYTES:
        raise MappingError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return parse(raw)


def parse(text: str | bytes) -> TeamMapping:
    """Return the mapping of a file's text. Raises ``MappingError``."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise MappingError(f"line {mark.line + 1 if mark else 1}: {exc.problem or exc.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise MappingError(f"it is no YAML ({str(exc)[:100] or type(exc).__name__})") from None
    if root is None:
        raise MappingError("it is empty; at least `version: 1` is due")
    entries = _entries(root, "the file", ("version", "attributes", "steps"))
    _check_version(entries.get("version"), root)
    names = _names(entries.get("attributes"))
    rules = [_rule(node, names) for node in _items(entries.get("steps"), "steps")]
    return TeamMapping(names, tuple(rules), _needles(names, rules, root))


def _check_version(node: yaml.Node | None, root: yaml.Node) -> None:
    if node is None:
        _fail(root, f"`version: {VERSION}` is missing")
    if _scalar(node) != VERSION:
        _fail(node, f"version {_shown(node)} is not known, {VERSION} is")


def _names(node: yaml.Node | None) -> dict[str, str]:
    """Return theirs → ours of an ``attributes`` map."""
    names: dict[str, str] = {}
    if node is None:
        return names
    for theirs, target in _entries(node, "attributes", None).items():
        ours = _scalar(target)
        if not isinstance(ours, str) or not (
            ours in _OURS or any(ours.startswith(prefix) and ours != prefix for prefix in _PREFIXES)
        ):
            _fail(target, f"{_shown(target)} is no attribute of X-Ray (docs/conventions.md lists them)")
        _check_is_theirs(theirs, target)
        if ours in names.values():
            _fail(target, f"{ours} stands for two names; only one of yours can be read as it")
        names[theirs] = ours
    return names


def _check_is_theirs(name: str, node: yaml.Node) -> None:
    # A rule for it would never fit: what has a meaning already is not asked for another one.
    if name.startswith("xray.") or name in _READ_ALREADY:
        _fail(node, f"{name} is X-Ray's own name; the names of a mapping are yours")


def _rule(node: yaml.Node, names: Mapping[str, str]) -> StepRule:
    entries = _entries(node, "a step", ("type", "span_name", "where", "attributes"))
    if "type" not in entries:
        _fail(node, f"`type` is missing: {_ACCEPTED_TYPES} is due")
    word = _scalar(entries["type"])
    step_type = word if word in semconv.STEP_TYPES else semconv.STEP_TYPE_ALIASES.get(str(word))
    if step_type is None:
        _fail(entries["type"], f"type {_shown(entries['type'])} is not {_ACCEPTED_TYPES}")
    where, attributes = _where(entries.get("where")), _names(entries.get("attributes"))
    if not where and not attributes:
        _fail(
            node, "a step needs `where` or `attributes`: spans are looked at by the names of their attributes"
        )
    for theirs in (*where, *attributes):
        if theirs in names:
            _fail(node, f"{theirs} stands under the file's attributes already; name it in the steps alone")
    return StepRule(step_type, _span_name(entries.get("span_name")), where, attributes)


def _where(node: yaml.Node | None) -> dict[str, tuple[Any, ...]]:
    conditions: dict[str, tuple[Any, ...]] = {}
    if node is None:
        return conditions
    for attribute, wanted in _entries(node, "where", None).items():
        _check_is_theirs(attribute, wanted)
        nodes = wanted.value if isinstance(wanted, yaml.SequenceNode) else [wanted]
        values = tuple(_scalar(part) for part in nodes)
        if not values or any(not isinstance(value, str | int | float) for value in values):
            _fail(wanted, f"{attribute}: a text, number, true or false is due, a list of these, or '{ANY}'")
        conditions[attribute] = values
    return conditions


def _span_name(node: yaml.Node | None) -> re.Pattern[str] | None:
    if node is None:
        return None
    glob = _scalar(node)
    if not isinstance(glob, str) or not glob:
        _fail(node, f"span_name {_shown(node)} is not a name, in which * stands for any text")
    return name_pattern(glob)


def _needles(names: Mapping[str, str], rules: Sequence[StepRule], at: yaml.Node) -> tuple[bytes, ...]:
    """
    Return beginnings of attribute names, of which every span that is meant carries one.

    Names of one namespace share one: ``shop.`` for ``shop.stage`` and ``shop.items.in``.
    """
    wanted = {*names, *(name for rule in rules for name in (list(rule.where)[:1] or rule.attributes))}
    needles = sorted({f"{name.partition('.')[0]}." if "." in name else name for name in wanted})
    if len(needles) > MAX_NEEDLES:
        _fail(
            at,
            f"its names begin in {len(needles)} ways ({', '.join(needles)}); at most {MAX_NEEDLES} are taken",
        )
    return tuple(needle.encode() for needle in needles)


def _entries(node: yaml.Node, what: str, known: Sequence[str] | None) -> dict[str, yaml.Node]:
    """Return the entries of a map; known: the keys that are accepted, None for any text."""
    if not isinstance(node, yaml.MappingNode):
        _fail(node, f"{what} is a map of names to values")
    entries: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = _scalar(key_node)
        if not isinstance(key, str) or not key:
            _fail(key_node, f"{what}: a name is due, {_shown(key_node)} is none")
        if known is not None and key not in known:
            _fail(key_node, f"{what} has no `{key[:60]}`; it has {', '.join(known)}")
        if key in entries:
            _fail(key_node, f"{what} has `{key[:60]}` twice")
        entries[key] = value
    return entries


def _items(node: yaml.Node | None, what: str) -> Iterator[yaml.Node]:
    if node is None:
        return
    if not isinstance(node, yaml.SequenceNode):
        _fail(node, f"{what} is a list")
    yield from node.value


def _scalar(node: yaml.Node) -> Any:
    """Return a text, number, true or false; None for anything else."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):
        return None
    return value if isinstance(value, str | int | float) else None


def _shown(node: yaml.Node) -> str:
    return repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else "a list or map"


def _fail(node: yaml.Node, problem: str) -> NoReturn:
    raise MappingError(f"line {node.start_mark.line + 1}: {problem}")
