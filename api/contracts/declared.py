"""
Contracts as people declare them, in YAML or JSON, checked to the last word.

A contract says one thing: a share of runs, a figure of steps, the share of a reason, or that an item
gets somewhere. ``runs`` and ``steps`` say of which, in the filter language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Any, BinaryIO, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from api.contracts.judging import SIGNS, Sign
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import parse
from store.queries.language import MAX_CHARS
from store.queries.vocabulary import RUNS, STEP_TYPES, STEPS, Vocabulary

MAX_CONTRACTS = 200
MAX_FILE_BYTES = 256 * 1024
_MAX_SIZE = 8 * MAX_FILE_BYTES
"""Of a file with all that it repeats by a name written out: 8 for each value, and the characters of texts."""
_LONGEST = timedelta(days=100_000)
"""Back from now it is still a date."""
ID_FORM = "1 to 128 characters of A-Z, a-z, 0-9, ., _ and -"
_ID = r"^[A-Za-z0-9._-]{1,128}$"
_SHARE = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*(%?)\s*", re.ASCII)
_DURATION = re.compile(r"(\d{1,6})\s*([mhd])", re.ASCII)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_SAID = {"extra_forbidden": "is no key of this", "missing": "is needed"}
"""Where the words of pydantic are of its own terms, by its type of error."""
FIGURES = tuple(
    f"{field}.{statistic}"
    for field in ("drop_ratio", "duration_ms", "score_mean")
    for statistic in ("mean", "p50", "p90", "p95", "p99")
)


class ContractProblem(ValueError):
    """What is no contract; the text names the place and what is accepted there."""


def _share(value: Any) -> Any:
    share = Fraction(-1)
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)):
        share = Fraction(found[1]) / (100 if found[2] else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        share = Fraction(str(value))
    if not 0 <= share <= 1:
        raise ValueError("must be a share such as 5 % or 0.05, from 0 to 1")
    return share


def duration(value: Any) -> Any:
    """Return the length of time that ``90m``, ``24h`` or ``7d`` says."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    length = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    if not timedelta(0) < length <= _LONGEST:
        raise ValueError(f"must be a length of time such as 90m, 24h or 7d, at most {_LONGEST.days}d")
    return length


Share = Annotated[Fraction, BeforeValidator(_share)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Window = Annotated[timedelta, BeforeValidator(duration)]
Expression = Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class _Limited(_Declared):
    """Exactly one of the signs, with its limit."""

    @model_validator(mode="after")
    def _one_limit(self) -> _Limited:
        if len(list(self._limits())) != 1:
            known = ", ".join(sign for sign in SIGNS if sign in type(self).model_fields)
            raise ValueError(f"one of {known} is needed, and only one")
        return self

    def _limits(self) -> Iterator[tuple[Sign, Any]]:
        for sign in SIGNS:
            if (limit := getattr(self, sign, None)) is not None:
                yield sign, limit

    @property
    def limit(self) -> tuple[Sign, Any]:
        """The sign and what it compares with."""
        return next(self._limits())


class ShareOfRuns(_Limited):
    """The share of runs of which an expression is true."""

    where: Expression
    at_most: Share | None = None
    at_least: Share | None = None


class FigureOfSteps(_Limited):
    """A percentile or mean over steps."""

    of: Literal[FIGURES]  # type: ignore[valid-type]
    at_most: Number | None = None
    below: Number | None = None
    at_least: Number | None = None
    above: Number | None = None


class ShareOfReason(_Limited):
    """The share of candidates that got a reason, of those that came into the steps."""

    reason: Annotated[str, Field(min_length=1, max_length=512)]
    at_most: Share | None = None
    at_least: Share | None = None


class Target(_Declared):
    """The step that an item must get to."""

    step_type: Literal[STEP_TYPES] | None = None  # type: ignore[valid-type]
    name: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Target:
        if (self.step_type is None) == (self.name is None):
            raise ValueError("one of step_type, name is needed, and only one")
        return self


class ItemReaches(_Limited):
    """The share of runs in which a step of the target judges an item."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    reaches: Target
    at_most: Share | None = None
    at_least: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _every_run(cls, sent: Any) -> Any:
        if isinstance(sent, Mapping) and not {"at_most", "at_least"} & sent.keys():
            return {**sent, "at_least": "100 %"}
        return sent


KINDS = ("share_of_runs", "figure", "share_of_reason", "item")
_OF_STEPS = ("figure", "share_of_reason")
ENDED = 'status != "running"'
"""Of the steps that are judged."""
_BEYOND: Mapping[Sign, str] = {"at_most": ">", "below": ">=", "at_least": "<", "above": "<="}


class Contract(_Declared):
    """One thing that must hold."""

    id: Annotated[str, Field(pattern=_ID)]
    about: Annotated[str, Field(max_length=2048)] | None = None
    runs: Expression | None = None
    steps: Expression | None = None
    window: Window = timedelta(days=1)
    """Of the continuous check: runs that started so long ago at most."""
    share_of_runs: ShareOfRuns | None = None
    figure: FigureOfSteps | None = None
    share_of_reason: ShareOfReason | None = None
    item: ItemReaches | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Contract:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"one of {', '.join(KINDS)} is needed, and only one")
        word, other = ("steps", "runs") if given[0] in _OF_STEPS else ("runs", "steps")
        if getattr(self, other) is not None:
            raise ValueError(f"{other} is not asked by {given[0]}; {word} says of which")
        for field, text in (("runs", self.runs), ("steps", self.steps)):
            if text is not None:
                _understood(field, text, STEPS if field == "steps" else RUNS)
        if given[0] in _OF_STEPS:
            # What a check asks besides: the language bounds the length, depth and numbers of both together.
            for other in (ENDED, self.against):
                _understood("steps" if self.steps else given[0], joined(self.steps, other), STEPS)
        if self.share_of_runs is not None:
            _understood("share_of_runs.where", self.share_of_runs.where, RUNS)
        return self

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def against(self) -> str:
        """Which steps may speak against it, as an expression; of contracts on steps."""
        if self.figure is None:
            return "candidates_in > 0"
        sign, limit = self.limit
        return f"{str(self.figure.of).partition('.')[0]} {_BEYOND[sign]} {limit!r}"

    @property
    def limit(self) -> tuple[Sign, Any]:
        """The sign and what it compares with."""
        limited: _Limited = getattr(self, self.kind)
        return limited.limit


def joined(expression: str | None, other: str) -> str:
    """Return the expression of which both are true."""
    return f"({expression}) and {other}" if expression else other


def _understood(field: str, text: str, vocabulary: Vocabulary) -> None:
    try:
        parse(vocabulary, [("q", text)])
    except InvalidParameter as exc:
        raise ValueError(f"{field}: {exc}") from None


def contract(document: Any, contract_id: str | None = None) -> Contract:
    """Return the contract that a parsed document declares; raises ``ContractProblem``."""
    if contract_id is not None and isinstance(document, Mapping):
        if document.get("id", contract_id) != contract_id:
            raise ContractProblem("id: the contract says another id")
        document = {**document, "id": contract_id}
    try:
        return Contract.model_validate(document)
    except ValidationError as exc:
        raise ContractProblem(pointed(exc)) from None


def contracts(document: Any) -> list[Contract]:
    """Return the contracts of ``{"contracts": […]}``; raises ``ContractProblem``."""
    listed = document.get("contracts") if isinstance(document, Mapping) else None
    if not isinstance(listed, list) or not listed or set(document) != {"contracts"}:
        raise ContractProblem("contracts: a list of contracts is needed, and nothing beside it")
    if len(listed) > MAX_CONTRACTS:
        raise ContractProblem(f"contracts: at most {MAX_CONTRACTS} are checked at once, got {len(listed)}")
    found: list[Contract] = []
    for place, each in enumerate(listed):
        try:
            found.append(contract(each))
        except ContractProblem as exc:
            name = each.get("id") if isinstance(each, Mapping) else None
            named = f" ({shown(name)})" if isinstance(name, str) and name else ""
            raise ContractProblem(f"contracts[{place}]{named}: {exc}") from None
    seen: set[str] = set()
    for place, each in enumerate(found):
        if each.id in seen:
            raise ContractProblem(f"contracts[{place}].id: {each.id} was declared before")
        seen.add(each.id)
    return found


def load(file: BinaryIO) -> Any:
    """
    Return the document of a YAML file of contracts or of a rule.

    Raises ``ContractProblem``, with line and column where it can, and ``OSError``.
    """
    content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ContractProblem(f"a file has at most {MAX_FILE_BYTES} bytes")
    try:
        document = yaml.safe_load(content.decode())
        _check_size(document)
        return document
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ContractProblem(f"{at}{exc.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise ContractProblem(f"no YAML: {exc}") from None


def _check_size(document: Any) -> None:
    """Raise for a document that is small in the file and huge, or endless, when its aliases are followed."""
    size, left = 0, [document]
    while left:
        value = left.pop()
        size += 8 + (len(value) if isinstance(value, str | bytes) else 0)
        if size > _MAX_SIZE:
            raise ContractProblem("too much is repeated by its aliases")
        if isinstance(value, Mapping):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | set | tuple):
            left += value


def pointed(error: ValidationError) -> str:
    """What is wrong first, by its place: ``figure.of: is needed``; no value that was sent."""
    first = error.errors(include_url=False, include_input=False)[0]
    words = _SAID.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {words}" if place else words
