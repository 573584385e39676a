"""
A team's own names for what X-Ray knows: the YAML file that ``XRAY_MAPPING`` names.

``attributes`` renames: a span is then read as if it had carried our names. ``steps`` says which
spans are steps by their name or by the values of attributes. The format is described in
``docs/mapping.md``; ``mapping_file.py`` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from collector.inference.finding import Finding
from collector.inference.shapes import NAMES as _SHAPES
from xray_otel import semconv

ANY = "*"
"""The condition that an attribute is there, whatever its value."""


@dataclass(frozen=True, slots=True)
class StepRule:
    """Which spans are steps of a type; all conditions must hold."""

    step_type: str
    """A word of the vocabulary."""
    span_name: re.Pattern[str] | None
    where: Mapping[str, Sequence[Any]]
    """Attribute → values of which it must have one; ``(ANY,)``: any value."""
    attributes: Mapping[str, str]
    """Theirs → ours, for the spans of this rule alone."""

    def fits(self, name: str, sent: Mapping[str, Any]) -> bool:
        """Tell whether a span of this name with these attributes is meant."""
        if self.span_name is not None and self.span_name.fullmatch(name) is None:
            return False
        if not self.where and self.attributes.keys().isdisjoint(sent):
            return False
        return all(
            attribute in sent and (values == (ANY,) or _among(sent[attribute], values))
            for attribute, values in self.where.items()
        )


@dataclass(frozen=True, slots=True)
class TeamMapping:
    """What the file says; without a file: nothing."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Theirs → ours, on every span."""
    rules: Sequence[StepRule] = ()
    needles: tuple[bytes, ...] = ()

    @property
    def renamed(self) -> Mapping[str, str]:
        """The names that the extraction reads by itself."""
        return {theirs: ours for theirs, ours in self.names.items() if ours not in _SHAPES}

    def wants(self, name: str) -> bool:
        """Tell whether a rule or a shape of decisions looks at the attribute."""
        return self.names.get(name) in _SHAPES or any(
            name in rule.where or name in rule.attributes for rule in self.rules
        )

    def translated(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the attributes with those of decisions under our names."""
        found = {
            ours: sent[theirs] for theirs, ours in self.names.items() if theirs in sent and ours in _SHAPES
        }
        return {**found, **sent} if found else sent

    def read(self, name: str, sent: Mapping[str, Any]) -> Finding | None:
        """Return the step that the first rule which fits makes of a span, None when none does."""
        for rule in self.rules:
            if rule.fits(name, sent):
                finding = Finding({semconv.STEP_TYPE: rule.step_type})
                finding.take(sent, rule.attributes)
                return finding
        return None


NO_MAPPING = TeamMapping()


def name_pattern(glob: str) -> re.Pattern[str]:
    """Return what a span name must match; ``*`` stands for any text, ``?`` for one character."""
    return re.compile(translate(glob))


def _among(value: Any, values: Sequence[Any]) -> bool:
    # True equals 1 in Python; for a team that writes `true` it does not.
    return any(type(value) is type(other) and value == other for other in values)
