"""How a pipeline describes a step: reasons, inputs, metrics, and what its items look like."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from xray_otel import semconv
from xray_otel._encode import json_text, named_text, shown, text_of
from xray_otel._figures import number
from xray_otel._frames import is_frame
from xray_otel._guard import guarded
from xray_otel._operations import Operations
from xray_otel._schemas import MAX_PROBLEMS, Compiled, Problem, Rules, report
from xray_otel._statistics import summarize_fields
from xray_otel._text import NAME_BYTES, WHY_BYTES
from xray_otel.errors import UsageError
from xray_otel.settings import SchemaMode

Evaluation = Literal["single", "all", "first_failure"]
Missing = Literal["passes", "fails"]

_MAX_METRICS = 64
"""Beside some 45 names of X-Ray's own these stay below the span's limit of 128 attributes."""
_MAX_FIELDS = 64
_MAX_PARENTS = 64
_SECTIONS = {
    "input": semconv.STEP_INPUT,
    "output": semconv.STEP_OUTPUT,
    "reasoning": semconv.STEP_REASONING,
}
_MAX_NAMES = 256
_MAX_COUNT = 2**63 - 1


class Describing(Operations):
    """
    The describing part of a step. What is said twice holds as said last.

    No method raises in the mode ``best_effort``; ``strict`` raises UsageError for what
    cannot be recorded.
    """

    __slots__ = ("_attributes", "_declared", "_declares", "_is_source", "_metrics", "_problems", "_rules")

    _attributes: dict[str, Any]
    """Attributes of the span, as they will be on the wire."""
    step_id: str
    _is_source: bool
    """Whether the step makes candidates, so that it has no ``in``."""
    _metrics: int
    _declared: list[str]
    _declares: dict[str, Any]
    """What ``declare`` said."""
    _problems: list[Problem]
    """Where the step breaks its schema."""
    _rules: Rules | None
    """What its schema says of it."""

    def _describe(self, name: str | None, schema: Compiled | None, arguments: Mapping[str, Any]) -> None:
        """Takes up what ``step`` was called with, as far as it says what the step is."""
        word = known = arguments.get("type", "custom")
        if type(word) is not str or word not in semconv.STEP_TYPES:
            word = text_or(word, "custom")
            known = semconv.STEP_TYPE_ALIASES.get(word.lower(), word.lower())
            if known not in semconv.STEP_TYPES:
                self._complain(f"step type {word!r} is none of {', '.join(sorted(semconv.STEP_TYPES))}")
        self._is_source = known == "search"
        self._attributes[semconv.STEP_TYPE] = known if known in semconv.STEP_TYPES else word
        if schema is not None:
            self._follow(schema, text_or(name, "") or word, known)
        if arguments.get("why") is not None:
            self.why(arguments["why"])
        if arguments.get("input") is not None:
            self.set_input(arguments["input"])
        if arguments.get("reasoning") is not None:
            self.set_reasoning(arguments["reasoning"])
        if arguments.get("config") is not None:
            self._config(arguments["config"])
        parents = arguments.get("parents")
        if parents is not None:
            # A frame is one value: its columns, one by one, would lose the names that they are masked by.
            alone = isinstance(parents, str | Describing) or is_frame(parents)
            parents = [parents] if alone else parents
            parents = self._bounded("parents", parents, _MAX_PARENTS)
            self._attributes[semconv.STEP_PARENTS] = [
                parent.step_id if isinstance(parent, Describing) else text_of(parent, NAME_BYTES)
                for parent in parents
            ]
        top_k = arguments.get("top_k")
        if top_k is not None and number(top_k) is None:
            self._complain(f"top_k must be a number, got {shown(top_k)}")
        self._asked_for = top_k

    @guarded
    def why(self, text: str) -> None:
        """Why the step did what it did, in words, at most 2 KiB."""
        self._set(semconv.STEP_WHY, text_of(text, WHY_BYTES))

    @guarded
    def set_input(self, value: Any) -> None:
        """What the step was given: any value, recorded as JSON of at most 16 KiB."""
        if self._hears():
            self._set(semconv.STEP_INPUT, self._payload("input", value))

    @guarded
    def set_output(self, value: Any) -> None:
        """What the step returned: any value, recorded as JSON of at most 16 KiB."""
        if self._hears():
            self._set(semconv.STEP_OUTPUT, self._payload("output", value))

    @guarded
    def set_reasoning(self, value: Any) -> None:
        """The rules or parameters that were applied: any value, as JSON of at most 16 KiB."""
        if self._hears():
            self._set(semconv.STEP_REASONING, self._payload("reasoning", value))

    @guarded
    def counts(self, *, in_: int | None = None, out: int | None = None) -> None:
        """
        Candidates in and out, when they are not to be counted from the recorded decisions.

        A step that makes candidates (search) has no ``in_``.
        """
        if not self._hears():
            return
        for name, key, value in (("in_", semconv.CANDIDATES_IN, in_), ("out", semconv.CANDIDATES_OUT, out)):
            if value is not None:
                figure = number(value)
                if figure is None or not 0 <= figure <= _MAX_COUNT or figure != int(figure):
                    raise UsageError(f"{name} must be a whole number from 0, got {shown(value)}")
                self._set(key, min(int(figure), _MAX_COUNT))

    @guarded
    def metric(self, name: str, value: float) -> None:
        """A number of the team's own, sent as ``xray.metric.<name>``; at most 64 per step."""
        if not self._hears():
            return
        figure = number(value)
        key = f"{semconv.METRIC_PREFIX}{text_of(name, NAME_BYTES)}"
        if figure is None:
            raise UsageError(f"metric {shown(name)} must be a finite number, got {shown(value)}")
        if self._rules is not None and not self._rules.takes_metric(key[len(semconv.METRIC_PREFIX) :]):
            field = f"metrics.{key[len(semconv.METRIC_PREFIX) :]}"
            self._breaks([Problem(field, "is not in the schema")], self._rules.mode)
            if self._rules.mode != "warn":
                return
        if key not in self._attributes:
            if self._metrics >= _MAX_METRICS:
                raise UsageError(f"a step has at most {_MAX_METRICS} metrics; {shown(name)} is left out")
            self._metrics += 1
        self._set(key, figure)

    @guarded
    def reasons(self, *codes: str) -> None:
        """Codes that the step can give; one that no candidate got is listed with 0."""
        if self._hears():
            said = [text_of(code, NAME_BYTES) for code in codes[: _MAX_NAMES + 1]]
            known = dict.fromkeys((*self._declared, *said))
            self._declared = self._bounded("reasons", known, _MAX_NAMES)

    @guarded
    def declare(
        self,
        *,
        evaluation: Evaluation | None = None,
        comparators: Mapping[str, str] | None = None,
        missing: Missing | Mapping[str, Missing] | None = None,
        item_independent: bool | None = None,
    ) -> None:
        """
        What no decision can say of the step's rules, so that other thresholds can be replayed for certain.

        evaluation: ``single``, one rule judges each candidate, and each value is what it compared; ``all``,
        every check is made of each candidate and listed in its ``checks``, and it passes if all do;
        ``first_failure``, likewise, but it ends at the first check that fails; ``single`` of a ranking: the
        order by score is all, as of ``rank`` and ``select_best``. comparators: reason or name
        of a check to ``<``, ``<=``, ``>``, ``>=``, ``==`` or ``!=``, which holds between value and threshold
        of a candidate that passes. missing: what each rule makes of a missing value, or, by the name of each
        check, what it makes of a value that is None or ``MISSING``. item_independent: whether a candidate
        would get the same verdict or score beside any other candidates.
        """
        if not self._hears():
            return
        if missing is not None:
            by_rule = missing if isinstance(missing, Mapping) else {"": missing}
            said: dict[str, str] = {}
            for name, word in self._bounded("rules", by_rule.items(), _MAX_NAMES):
                if word not in semconv.MISSING_VALUES:
                    # All of it: what stands under a key is masked by that key.
                    raise UsageError(f"missing must be passes or fails, got {shown(missing)}")
                said[text_of(name, NAME_BYTES)] = word
            self._declares["missing"] = said if by_rule is missing else missing
        if evaluation is not None:
            if evaluation not in semconv.EVALUATIONS:
                words = ", ".join(sorted(semconv.EVALUATIONS))
                raise UsageError(f"evaluation must be one of {words}, got {shown(evaluation)}")
            self._declares["evaluation"] = evaluation
        if item_independent is not None:
            if type(item_independent) is not bool:
                raise UsageError(f"item_independent must be True or False, got {shown(item_independent)}")
            self._declares["item_independent"] = item_independent
        signs = self._declares.get("comparators", {})
        for name, sign in self._bounded("comparators", (comparators or {}).items(), _MAX_NAMES):
            if sign not in semconv.COMPARATORS:
                raise UsageError(f"a comparator must be one of < <= > >= == !=, got {shown(comparators)}")
            signs = signs | {text_of(name, NAME_BYTES): sign}
            self._declares["comparators"] = signs

    def _said_of_rules(self) -> dict[str, Any] | None:
        """What goes with the decisions: as declared, else as the operations that recorded them know."""
        known: dict[str, Any] = {}
        # Of two filters the second judges what the first let through: no longer one rule.
        if len(self._compared) == 1:
            [rule] = self._compared
            if rule.exact and rule.judged == self._judged():
                known = {
                    "evaluation": "single",
                    "comparators": {text_of(rule.reason, NAME_BYTES): rule.sign},
                    "missing": "fails",
                    "item_independent": True,
                }
        elif not self._compared and self._ranked and self._ranked == self._judged():
            known = {"evaluation": "single"}
        return known | self._declares or None

    def _judged(self) -> int:
        """Candidates that the step judged until now."""
        return 0

    @guarded
    def model(self, name: str, temperature: float | None = None) -> None:
        """The language model that was asked, under OpenTelemetry's own names."""
        if not self._hears():
            return
        self._set(semconv.GEN_AI_REQUEST_MODEL, text_of(name, NAME_BYTES))
        if temperature is not None:
            figure = number(temperature)
            if figure is None:
                raise UsageError(f"temperature must be a finite number, got {shown(temperature)}")
            self._set(semconv.GEN_AI_REQUEST_TEMPERATURE, figure)

    @guarded
    def sources(self, counts: Mapping[str, int]) -> None:
        """Items that each shard, index or supplier gave, 0 included: ``{"index-1": 400}``."""
        found: dict[str, int] = {}
        for name, count in self._bounded("sources", counts.items(), _MAX_NAMES):
            figure = number(count)
            if figure is None or not 0 <= figure <= _MAX_COUNT:
                sent = named_text(name, count, 80)
                self._complain(f"items of source {shown(name)} must be a number from 0, got {sent}")
            else:
                found[text_of(name, NAME_BYTES)] = min(int(figure), _MAX_COUNT)
        self._set(semconv.SOURCES_NAMES, list(found))
        self._set(semconv.SOURCES_COUNTS, list(found.values()))

    @guarded
    def fields(self, items: Iterable[Any], names: Sequence[str], source: str | None = None) -> None:
        """
        Statistics of the items' fields as they leave the step: share missing, mean, standard
        deviation and median. Tells a cause upstream from a symptom downstream.

        items: mappings or objects (an iterator is used up, to 2,000,000 items), or a frame or table
        of pandas, polars or Arrow. names: keys, attributes or columns, at most 64. source: the one
        that says which shard, index or supplier an item is from; they are counted as by ``sources``.
        A field that goes by a hidden name has no figures. Costs about 0.3 µs per item and name.
        """
        if not self._hears():
            return
        wanted = [names] if isinstance(names, str) else self._bounded("fields", names, _MAX_FIELDS)
        found, sources = summarize_fields(items, wanted, source)
        if source is not None:
            self.sources(sources)
        self._set(semconv.FIELDS_NAMES, [field.name for field in found])
        self._set(semconv.FIELDS_MISSING, [field.missing for field in found])
        for key, column in (
            (semconv.FIELDS_MEAN, [field.mean for field in found]),
            (semconv.FIELDS_STD, [field.std for field in found]),
            (semconv.FIELDS_P50, [field.p50 for field in found]),
        ):
            self._set(key, [math.nan if value is None else value for value in column])

    def _bounded(self, what: str, names: Iterable[Any], limit: int) -> list[Any]:
        """The first ``limit`` of them; complains of more."""
        found = list(islice(names, limit + 1))
        if len(found) > limit:
            self._complain(f"a step has at most {limit} {what}; the others are left out")
        return found[:limit]

    def _config(self, config: Any) -> None:
        """Sets the fingerprint: text as it is, anything else as hash of its JSON."""
        if isinstance(config, str):
            self._set(semconv.CONFIG_FINGERPRINT, text_of(config, NAME_BYTES))
        else:
            digest = hashlib.sha256(json_text(config).encode("utf-8")).hexdigest()
            self._set(semconv.CONFIG_FINGERPRINT, f"sha256:{digest[:16]}")

    def _payload(self, section: str, value: Any) -> str:
        if self._rules is None:
            return json_text(value)
        text, problems = self._rules.payload(section, value)
        self._breaks(problems, self._rules.mode)
        return text

    def _follow(self, schema: Compiled | None, name: str, step_type: str) -> None:
        """Has the step follow a schema from now on."""
        self._rules = None
        if schema is not None:
            self._rules, problems = schema.step(name, step_type)
            self._breaks(problems, schema.run.mode)

    def _breaks(self, problems: list[Problem], mode: SchemaMode) -> None:
        """Takes note of what breaks the schema. In mode ``strict``, ``reject`` raises UsageError."""
        self._problems += problems[: MAX_PROBLEMS - len(self._problems)]
        if problems:
            report(self._guard, mode, "step", problems)

    def _violations(self) -> dict[str, object]:
        """The attribute that says what breaks the schema, when all else is said."""
        if self._rules is not None:
            given = [section for section, key in _SECTIONS.items() if key in self._attributes]
            start = len(semconv.METRIC_PREFIX)
            metrics = [key[start:] for key in self._attributes if key.startswith(semconv.METRIC_PREFIX)]
            problems = self._rules.unset(given, metrics)
            self._problems += problems[: MAX_PROBLEMS - len(self._problems)]
        return {semconv.SCHEMA_VIOLATIONS: list(map(str, self._problems))} if self._problems else {}

    def _set(self, key: str, value: object) -> None:
        if self._hears():
            self._attributes[key] = value


def text_or(value: object, default: str) -> str:
    """A name as text of at most 512 bytes; the default for None."""
    return default if value is None else text_of(value, NAME_BYTES)
