"""Schemas: what the steps of a pipeline promise to record, checked before it is sent. Decision 0026."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from xray_otel._encode import dumps, json_text, shown, simplified, text_of
from xray_otel._guard import Guard
from xray_otel._mask import MASKED
from xray_otel._text import NAME_BYTES
from xray_otel.errors import UsageError
from xray_otel.semconv import STEP_TYPE_ALIASES, STEP_TYPES
from xray_otel.settings import SchemaMode

MAX_DOCUMENT_BYTES = 64 * 1024
"""As large as one attribute of an event should be."""
MAX_PROBLEMS = 32
"""Of one step or run; the others are not told."""
CUT = "…"
"""Key under which ``json_text`` says what it has cut off."""
ANY_STEP = "*"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

SCHEMA_TYPES = ("string", "number", "integer", "boolean", "array", "object", "any")
_SECTIONS = ("input", "output", "reasoning", "metrics")
_OF_STEP = ("type", *_SECTIONS)
_MAX_NAMES = 4096
"""More than fit into a document."""
_RUN_SECTIONS = ("input", "output")
_PYTHON_TYPES: Mapping[Any, str] = {
    str: "string",
    float: "number",
    int: "integer",
    bool: "boolean",
    list: "array",
    dict: "object",
    object: "any",
    Any: "any",
    None: "any",
}


@dataclass(frozen=True, slots=True)
class Schema:
    """
    What the steps of a pipeline may record: give it to ``configure`` or ``run``.

    id, version: its name, and which state of it; the server keeps every version. steps: by
    name of the step (``*`` stands for those not named) a mapping with any of ``type``,
    ``input``, ``output``, ``reasoning`` and ``metrics``. The last four map the keys that are
    allowed to their type: ``string number integer boolean array object any``, with ``!`` when the
    key is required, or a Python type. step_types: those allowed; none means all.
    input, output: the same of the run itself. What is not declared is not checked.

    Nothing is checked here: a schema that makes no sense is found by ``configure`` or ``run``.
    """

    id: str
    version: str
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    step_types: Sequence[str] = ()
    input: Mapping[str, Any] | None = None
    output: Mapping[str, Any] | None = None


class Key(NamedTuple):
    """What a schema says of one key."""

    type: str
    required: bool


Section = Mapping[str, Key]
"""Allowed keys; a section that a schema does not declare is not there, and anything goes."""


class Problem(NamedTuple):
    """What breaks a schema: field (``input.title``), and how."""

    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a schema says of one step, or of the run."""

    mode: SchemaMode
    sections: Mapping[str, Section]

    def payload(self, section: str, value: Any) -> tuple[str, list[Problem]]:
        """Any value as JSON text that leaves, and what was wrong with it."""
        tree = simplified(value)
        tree, problems = self.check(section, tree)
        return json_text(tree), problems

    def check(self, section: str, tree: Any) -> tuple[Any, list[Problem]]:
        """A JSON value as it may stay by the mode, and what was wrong with it."""
        keys = self.sections.get(section)
        if keys is None:
            return tree, []
        if not isinstance(tree, dict):
            problem = Problem(section, f"an object is expected, got {_type_of(tree)}")
            return (tree if self.mode == "warn" else {}), [problem]
        problems = []
        kept: dict[str, Any] = {}
        for name, value in tree.items():
            problem_here = self._judge(section, name, value, keys)
            if problem_here is None or self.mode == "warn":
                kept[name] = value
            elif self.mode == "sanitize" and name in keys:
                kept[name] = None
            if problem_here is not None:
                problems.append(problem_here)
        if CUT not in tree:
            problems += [
                Problem(f"{section}.{name}", "is required")
                for name, key in keys.items()
                if key.required and tree.get(name) is None
            ]
        return kept, problems

    def takes_metric(self, name: str) -> bool:
        """Whether a metric of this name may be recorded."""
        return name in self.sections.get("metrics", (name,))

    def unset(self, given: Iterable[str], metrics: Iterable[str]) -> list[Problem]:
        """What is required and was never recorded, when all is said."""
        given, metrics = set(given), set(metrics)
        missing = [
            Problem(section, "is required")
            for section, keys in self.sections.items()
            if section != "metrics" and section not in given and any(key.required for key in keys.values())
        ]
        return missing + [
            Problem(f"metrics.{name}", "is required")
            for name, key in self.sections.get("metrics", {}).items()
            if key.required and name not in metrics
        ]

    @staticmethod
    def _judge(section: str, name: str, value: Any, keys: Section) -> Problem | None:
        if name == CUT or value == MASKED:
            return None
        key = keys.get(name)
        if key is None:
            return Problem(f"{section}.{name}", "is not in the schema")
        if value is None or key.type in ("any", _type_of(value)):
            return None
        if key.type == "number" and _type_of(value) == "integer":
            return None
        return Problem(f"{section}.{name}", f"{key.type} is expected, got {_type_of(value)}")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema as it is applied and registered."""

    id: str
    version: str
    document: str
    """Canonical JSON: equal schemas have equal documents."""
    run: Rules
    _steps: Mapping[str, Rules]
    _types: Mapping[str, str]
    _step_types: frozenset[str]

    def step(self, name: str, step_type: str) -> tuple[Rules | None, list[Problem]]:
        """What holds for a step, and what is wrong with its name or type."""
        problems = []
        known = name if name in self._steps else ANY_STEP
        if self._steps and known not in self._steps:
            problems.append(Problem("name", f"step {name} is not in the schema"))
        if self._step_types and step_type not in self._step_types:
            problems.append(Problem("type", f"steps of type {step_type} are not in the schema"))
        expected = self._types.get(known, step_type)
        if expected != step_type:
            problems.append(Problem("type", f"{expected} is expected, got {step_type}"))
        return self._steps.get(known), problems


def compiled(schema: object, mode: SchemaMode) -> Compiled:
    """The schema, checked. Raises UsageError for one that makes no sense, naming the place."""
    if isinstance(schema, Schema):
        schema = {name: getattr(schema, name) for name in Schema.__slots__}
    if not isinstance(schema, Mapping):
        raise UsageError(f"a schema must be a Schema, got {shown(schema)}")
    for name in islice(schema, len(Schema.__slots__) + 1):
        if name not in Schema.__slots__:
            raise UsageError(f"a schema has no {shown(name)}, but {', '.join(Schema.__slots__)}")
    identity = {name: _identity(name, schema.get(name)) for name in ("id", "version")}
    of_run = {section: _section(section, schema[section]) for section in _declared(schema, _RUN_SECTIONS)}
    of_steps: dict[str, dict[str, Section]] = {}
    types: dict[str, str] = {}
    for name, step in _items("steps", schema.get("steps") or {}):
        of_steps[name] = {
            section: _section(f"steps.{name}.{section}", step[section])
            for section in _declared(_mapping(f"steps.{name}", step), _SECTIONS)
        }
        if step.get("type") is not None:
            types[name] = _step_type(step["type"])
        for said in step:
            if said not in _OF_STEP:
                raise UsageError(f"schema: steps.{name} has no {shown(said)}")
    step_types = frozenset(map(_step_type, islice(schema.get("step_types") or (), 64)))
    document = _document(identity, of_run, of_steps, types, step_types)
    return Compiled(
        identity["id"],
        identity["version"],
        document,
        Rules(mode, of_run),
        MappingProxyType({name: Rules(mode, sections) for name, sections in of_steps.items()}),
        types,
        step_types,
    )


def _document(
    identity: Mapping[str, str],
    of_run: Mapping[str, Section],
    of_steps: Mapping[str, Mapping[str, Section]],
    types: Mapping[str, str],
    step_types: frozenset[str],
) -> str:
    tree: dict[str, Any] = dict(identity) | _plain(of_run)
    if of_steps:
        tree["steps"] = {
            name: ({"type": types[name]} if name in types else {}) | _plain(sections)
            for name, sections in sorted(of_steps.items())
        }
    if step_types:
        tree["step_types"] = sorted(step_types)
    document = dumps(dict(sorted(tree.items()))).decode("utf-8")
    if len(document.encode("utf-8")) > MAX_DOCUMENT_BYTES:
        raise UsageError(f"a schema has at most {MAX_DOCUMENT_BYTES} bytes as JSON")
    return document


def _plain(sections: Mapping[str, Section]) -> dict[str, Any]:
    return {
        section: {name: {"required": key.required, "type": key.type} for name, key in sorted(keys.items())}
        for section, keys in sorted(sections.items())
    }


def report(guard: Guard, mode: SchemaMode, where: str, problems: Sequence[Problem]) -> None:
    """Logs what breaks a schema. In mode ``strict``, ``reject`` raises UsageError."""
    told = f"breaks its schema: {'; '.join(map(str, problems[:5]))}"
    if mode == "reject":
        guard.failed(where, UsageError(told))
    else:
        guard.note(where, told)


def load(path: str) -> object:
    """
    The schema in a file, as mappings. Raises UsageError for one that cannot be read.

    YAML needs PyYAML; without it, and for any other ending, the file is JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if path.endswith((".yaml", ".yml")):
            return _yaml(text)
        return json.loads(text)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"the schema {path} cannot be read: {type(error).__name__}: {error}") from error


def _yaml(text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise UsageError("a schema in YAML needs PyYAML; install it, or write the schema as JSON") from None
    return yaml.safe_load(text)


def _declared(schema: Mapping[str, Any], sections: Iterable[str]) -> list[str]:
    return [section for section in sections if schema.get(section) is not None]


def _section(place: str, section: Any) -> Section:
    return {name: _key(f"{place}.{name}", said) for name, said in _items(place, section)}


def _key(place: str, said: Any) -> Key:
    required = False
    if isinstance(said, Mapping):
        required, said = bool(said.get("required", False)), said.get("type")
    if isinstance(said, str):
        required, word = required or said.endswith("!"), said.rstrip("!")
    else:
        try:
            word = _PYTHON_TYPES[said]
        except (KeyError, TypeError):
            word = shown(said)
    if word not in SCHEMA_TYPES:
        accepted = ", ".join(SCHEMA_TYPES)
        raise UsageError(f"schema: the type of {place} must be one of {accepted}, got {shown(said)}")
    return Key(word, required)


def _items(place: str, mapping: Any) -> Iterator[tuple[str, Any]]:
    for name, value in islice(_mapping(place, mapping).items(), _MAX_NAMES):
        # As names are when they are sent, so that they are found again.
        yield text_of(name, NAME_BYTES), value


def _mapping(place: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"schema: {place} must be a mapping, got {shown(value)}")
    return value


def _step_type(word: Any) -> str:
    known = text_of(word, NAME_BYTES).lower()
    known = STEP_TYPE_ALIASES.get(known, known)
    if known not in STEP_TYPES:
        raise UsageError(f"schema: a step type is one of {', '.join(sorted(STEP_TYPES))}, got {shown(word)}")
    return known


def _identity(name: str, value: Any) -> str:
    text = text_of(value, NAME_BYTES) if isinstance(value, str | int) and value is not True else ""
    if not _NAME.fullmatch(text):
        raise UsageError(f"schema: {name} must be 1 to 128 of A-Z a-z 0-9 . _ -, got {shown(value)}")
    return text


def _type_of(value: Any) -> str:
    kind = type(value)
    if kind is bool:
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(kind, "null")
