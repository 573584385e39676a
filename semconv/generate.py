"""
Writes what is derived from the registry: the client's constants and the documentation.

``python -m semconv.generate`` writes ``xray_otel/semconv.py`` and ``docs/conventions.md``;
``--check`` writes nothing and exits with 1 when one of them is out of date.

The registry is in the format of OpenTelemetry's Weaver (groups with ``type``,
``attributes``, ``ref``), so that its own checks can run on it. This generator reads the
part of that format that the registry uses and refuses the rest.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = Path(__file__).resolve().parent / "registry"
CONSTANTS_PATH = ROOT / "xray_otel" / "semconv.py"
DOCUMENT_PATH = ROOT / "docs" / "conventions.md"

_OWN_PREFIX = "xray."
_LINE = 110
_FILES = ("identity.yaml", "run.yaml", "step.yaml", "evidence.yaml", "signals.yaml")


class RegistryError(Exception):
    """The registry says something that this generator or the naming rules refuse."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of the registry; ``members`` are (value, brief) of a vocabulary."""

    key: str
    type: str
    brief: str
    note: str
    stability: str
    examples: tuple[Any, ...]
    set_by: str
    carried_by: tuple[str, ...]
    members: tuple[tuple[str, str], ...]
    annotations: Mapping[str, Any]

    @property
    def is_template(self) -> bool:
        return self.type.startswith("template[")

    @property
    def constant(self) -> str:
        name = self.key.removeprefix(_OWN_PREFIX).upper().replace(".", "_")
        return f"{name}_PREFIX" if self.is_template else name

    @property
    def value(self) -> str:
        return f"{self.key}." if self.is_template else self.key


@dataclass(frozen=True)
class Group:
    title: str
    brief: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class Event:
    """An event and its attributes as (key, requirement level)."""

    name: str
    brief: str
    attributes: tuple[tuple[str, str], ...]

    @property
    def constant(self) -> str:
        return "EVENT_" + self.name.removeprefix(_OWN_PREFIX).upper().replace(".", "_")


@dataclass(frozen=True)
class Registry:
    schema_url: str
    groups: tuple[Group, ...]
    events: tuple[Event, ...]

    def attribute(self, key: str) -> Attribute:
        return next(a for group in self.groups for a in group.attributes if a.key == key)


def _attribute(spec: Mapping[str, Any]) -> Attribute:
    kind = spec.get("type", "")
    members: tuple[tuple[str, str], ...] = ()
    if isinstance(kind, Mapping):
        members = tuple((m["value"], m["brief"]) for m in kind["members"])
        kind = "string"
    annotations = spec["annotations"]["xray"]
    return Attribute(
        key=spec.get("id") or spec["ref"],
        type=kind,
        brief=spec["brief"],
        note=spec.get("note", "").strip(),
        stability=spec.get("stability", ""),
        examples=tuple(spec.get("examples", ())),
        set_by=annotations["set_by"],
        carried_by=tuple(annotations["carried_by"]),
        members=members,
        annotations=annotations,
    )


def load(directory: Path = REGISTRY) -> Registry:
    """
    Reads and checks the registry.

    Raises RegistryError when a name appears twice, is both an attribute and a namespace,
    or when an event refers to an attribute that is not in the registry.
    """
    manifest = yaml.safe_load((directory / "manifest.yaml").read_text("utf-8"))
    groups: list[Group] = []
    events: list[Event] = []
    for name in _FILES:
        for group in yaml.safe_load((directory / name).read_text("utf-8"))["groups"]:
            if group["type"] == "attribute_group":
                attributes = tuple(_attribute(spec) for spec in group["attributes"])
                groups.append(Group(group["display_name"], group["brief"], attributes))
            elif group["type"] == "event":
                refs = tuple((spec["ref"], spec["requirement_level"]) for spec in group["attributes"])
                events.append(Event(group["name"], group["brief"], refs))
            else:
                raise RegistryError(f"{name}: group type {group['type']!r} is not supported")
    registry = Registry(manifest["schema_url"], tuple(groups), tuple(events))
    _check(registry)
    return registry


def _check(registry: Registry) -> None:
    keys = [attribute.key for group in registry.groups for attribute in group.attributes]
    names = [attribute.constant for group in registry.groups for attribute in group.attributes]
    for values in (keys, names, [event.name for event in registry.events]):
        doubled = {value for value in values if values.count(value) > 1}
        if doubled:
            raise RegistryError(f"names stand twice in the registry: {sorted(doubled)}")
    for key in keys:
        inside = [other for other in keys if other.startswith(f"{key}.")]
        if inside:
            raise RegistryError(f"{key} is an attribute and the namespace of {inside}")
    for event in registry.events:
        for key, _ in event.attributes:
            if key not in keys:
                raise RegistryError(f"event {event.name} refers to {key}, which the registry lacks")


def _doc(text: str) -> Iterator[str]:
    lines = textwrap.wrap(text, 100)
    if len(lines) == 1:
        yield f'"""{lines[0]}"""'
    else:
        yield '"""'
        yield from lines
        yield '"""'


def constants(registry: Registry) -> str:
    """The text of ``xray_otel/semconv.py``: one constant and one docstring per name."""
    lines = [
        '"""',
        "The names of X-Ray on the wire: attributes, events and vocabularies.",
        "",
        "Generated from ``semconv/registry`` by ``python -m semconv.generate``; do not edit.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "from types import MappingProxyType",
        "from typing import Final",
        "",
        f'SCHEMA_URL: Final = "{registry.schema_url}"',
        '"""Version of these conventions, set as schema URL of the client\'s scope."""',
    ]
    for group in registry.groups:
        lines += ["", f"# {group.title}", ""]
        for attribute in group.attributes:
            lines.append(f'{attribute.constant}: Final = "{attribute.value}"')
            shown = f"{attribute.type}; " if attribute.type else ""
            lines += _doc(f"{attribute.brief} ({shown}set by {_SET_BY[attribute.set_by]})")
    lines += ["", "# Events: names of OTLP log records", ""]
    for event in registry.events:
        lines.append(f'{event.constant}: Final = "{event.name}"')
        lines += _doc(event.brief)
    lines += ["", "# Vocabularies", "", *_vocabularies(registry)]
    return "\n".join(lines) + "\n"


_SET_BY = {
    "client": "X-Ray's client",
    "user": "the pipeline, through X-Ray's client or by itself",
    "both": "X-Ray's client or any OpenTelemetry SDK",
}


def _vocabularies(registry: Registry) -> Iterator[str]:
    for name, key in (
        ("SPAN_KINDS", "xray.span.kind"),
        ("STEP_TYPES", "xray.step.type"),
        ("STEP_STATUSES", "xray.step.status"),
        ("RUN_STATUSES", "xray.run.status"),
        ("CAPTURE_LEVELS", "xray.capture.level"),
    ):
        attribute = registry.attribute(key)
        yield from _words(name, [value for value, _ in attribute.members], f"Words of ``{key}``.")
    for key in ("xray.losses.causes", "xray.losses.what"):
        annotations = registry.attribute(key).annotations
        yield from _words(annotations["constant"], annotations["words"], f"Words of ``{key}``.")
        if senders := annotations.get("senders"):
            yield from _words(f"SENDER_{annotations['constant']}", senders, "Those that a sender may use.")
    of_rules = registry.attribute("xray.decisions.data").annotations
    yield from _words("EVALUATIONS", of_rules["evaluations"], "Words of ``rules.evaluation`` of a chunk.")
    yield from _words("COMPARATORS", of_rules["comparators"], "Signs of ``rules.comparators`` of a chunk.")
    yield from _words("MISSING_VALUES", of_rules["missing_values"], "Words of ``rules.missing`` of a chunk.")
    yield from _mapping(
        "STEP_TYPE_ALIASES",
        registry.attribute("xray.step.type").annotations["aliases"],
        "Words that stand for a step type, in lower case, and the type.",
    )
    yield from _mapping(
        "VERDICTS",
        registry.attribute("xray.decisions.data").annotations["verdicts"],
        "Letters of the ``verdict`` column of a chunk of decisions, and the verdict.",
    )


def _words(name: str, words: Iterable[str], brief: str) -> Iterator[str]:
    values = ", ".join(f'"{word}"' for word in words)
    line = f"{name}: Final = frozenset({{{values}}})"
    lines = [f"{name}: Final = frozenset(", f"    {{{values}}}", ")"]
    if len(lines[1]) > _LINE:
        lines[1:2] = ["    {", *(f'        "{word}",' for word in words), "    }"]
    yield from [line] if len(line) <= _LINE else lines
    yield f'"""{brief}"""'


def _mapping(name: str, items: Mapping[str, str], brief: str) -> Iterator[str]:
    yield f"{name}: Final[Mapping[str, str]] = MappingProxyType("
    yield "    {"
    for key, value in items.items():
        yield f'        "{key}": "{value}",'
    yield "    }"
    yield ")"
    yield f'"""{brief}"""'


def document(registry: Registry) -> str:
    """The text of ``docs/conventions.md``."""
    lines = [
        "# Conventions: names of X-Ray on the wire",
        "",
        "<!-- Generated from semconv/registry by `python -m semconv.generate`; do not edit. -->",
        "",
        "Spans carry metrics, log-based events carry the rest.",
        "Set by: *client* = X-Ray's client fills it in; *both* = X-Ray's client or any OpenTelemetry SDK;",
        "*user* = the pipeline says it, through the client or by itself.",
        f"Schema URL: `{registry.schema_url}`.",
    ]
    for group in registry.groups:
        lines += ["", f"## {group.title}", "", group.brief, ""]
        lines += [
            "| attribute | type | carried by | set by | meaning | examples |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_attribute_row(attribute) for attribute in group.attributes]
        for attribute in group.attributes:
            lines += _attribute_notes(attribute)
    lines += [
        "",
        "## Events",
        "",
        "OTLP log records with `event_name`; every one also carries the identity.",
        "",
    ]
    lines += ["| event | meaning | attributes (required ones in bold) |", "|---|---|---|"]
    for event in registry.events:
        keys = ", ".join(f"**`{k}`**" if level == "required" else f"`{k}`" for k, level in event.attributes)
        lines.append(f"| `{event.name}` | {event.brief} | {keys} |")
    return "\n".join(lines) + "\n"


def _attribute_row(attribute: Attribute) -> str:
    name = f"{attribute.key}.<key>" if attribute.is_template else attribute.key
    examples = "; ".join(_example(example) for example in attribute.examples)
    return (
        f"| `{name}` | {attribute.type or 'as in OpenTelemetry'} | {', '.join(attribute.carried_by)} "
        f"| {attribute.set_by} | {attribute.brief} | {examples} |"
    )


def _example(example: Any) -> str:
    if isinstance(example, list):
        return "`[" + ", ".join(str(item) for item in example) + "]`"
    text = str(example).lower() if isinstance(example, bool) else str(example)
    return text if text.startswith("`") else f"`{text}`"


def _attribute_notes(attribute: Attribute) -> Iterator[str]:
    if attribute.note:
        yield ""
        yield f"`{attribute.key}`: {attribute.note}"
    if members := attribute.members or tuple(attribute.annotations.get("words", {}).items()):
        yield ""
        words = "; ".join(f"`{value}` {brief.rstrip('.').lower()}" for value, brief in members)
        yield f"Words of `{attribute.key}`: {words}."
    if "senders" in attribute.annotations:
        yield ""
        yield f"A sender may use {', '.join(f'`{word}`' for word in attribute.annotations['senders'])} only."
    if "aliases" in attribute.annotations:
        yield ""
        words = ", ".join(f"{alias} → {word}" for alias, word in attribute.annotations["aliases"].items())
        yield f"Understood as well: {words}."
    if "verdicts" in attribute.annotations:
        yield ""
        words = ", ".join(f"{letter} {word}" for letter, word in attribute.annotations["verdicts"].items())
        yield f"Verdict letters: {words}."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m semconv.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when out of date")
    options = parser.parse_args(arguments)
    registry = load()
    stale = 0
    for path, text in ((CONSTANTS_PATH, constants(registry)), (DOCUMENT_PATH, document(registry))):
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        if options.check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date; run python -m semconv.generate\n")
        else:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
