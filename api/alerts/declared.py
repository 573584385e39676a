"""
Alert rules as people declare them: a question, a comparison, for how long, and whom to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.alerts.addresses import AddressProblem, check_url
from api.contracts.declared import FIGURES, Expression, Number, Window, pointed
from api.contracts.judging import SIGNS, Sign
from store.queries.errors import InvalidParameter
from store.queries.filters import parse
from store.queries.metrics import GROUP_BY
from store.queries.vocabulary import RUNS, STEPS

RULE_ID = r"^[A-Za-z0-9._-]{1,128}$"
MAX_WEBHOOKS = 5
MIN_SECRET = 16
COUNTS = ("steps", "errors", "error_share", "candidates_in", "candidates_out")
_NONE = timedelta(0)


class RuleProblem(ValueError):
    """What is no rule; the text names the place and what is accepted there."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


GroupBy = Annotated[tuple[Literal[GROUP_BY], ...], Field(max_length=len(GROUP_BY))]  # type: ignore[valid-type]


class OfSteps(_Declared):
    """A figure of ``/metrics/steps``, for each group."""

    figure: Literal[(*COUNTS, *FIGURES)]  # type: ignore[valid-type]
    where: Expression | None = None
    group_by: GroupBy = ()


class OfReason(_Declared):
    """A figure of ``/metrics/reasons`` about one reason, for each group."""

    reason: Annotated[str, Field(min_length=1, max_length=512)]
    figure: Literal["count", "share"] = "share"
    where: Expression | None = None
    group_by: GroupBy = ()


class OfRuns(_Declared):
    """How many of the runs that ended satisfy an expression; share: of those of ``among``."""

    where: Expression
    figure: Literal["count", "share"] = "count"
    among: Expression | None = None


class OfContract(_Declared):
    """Whether a stored contract is violated: 1 or 0."""

    id: Annotated[str, Field(pattern=RULE_ID)]


KINDS = ("steps", "reason", "runs", "contract")


class AlertRule(_Declared):
    """One rule, without where it is told and the secret."""

    id: Annotated[str, Field(pattern=RULE_ID)]
    about: Annotated[str, Field(max_length=2048)] | None = None
    steps: OfSteps | None = None
    reason: OfReason | None = None
    runs: OfRuns | None = None
    contract: OfContract | None = None
    at_most: Number | None = None
    below: Number | None = None
    at_least: Number | None = None
    above: Number | None = None
    window: Window = timedelta(hours=1)
    """Of what started so long ago at most."""
    lasting: Window = Field(_NONE, alias="for")
    every: Window = timedelta(minutes=1)
    min_n: Annotated[int, Field(ge=1, strict=True)] = 1
    """With fewer steps, candidates or runs nothing can be told."""

    @model_validator(mode="after")
    def _makes_sense(self) -> AlertRule:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"one of {', '.join(KINDS)} is needed, and only one")
        limits = [sign for sign in SIGNS if getattr(self, sign) is not None]
        if self.contract is not None:
            if limits:
                raise ValueError(f"{limits[0]} is not asked: a contract is violated or it is not")
        elif len(limits) != 1:
            raise ValueError(f"one of {', '.join(SIGNS)} is needed, and only one")
        for of_steps in (self.steps, self.reason):
            if of_steps is not None and of_steps.where is not None:
                _understood(f"{given[0]}.where", STEPS, of_steps.where)
        if self.runs is not None:
            _understood("runs.where", RUNS, self.runs.where)
            if self.runs.among is not None:
                _understood("runs.among", RUNS, self.runs.among)
        return self

    @property
    def limit(self) -> tuple[Sign, float]:
        """The sign and what it compares with; it fires when the comparison is true."""
        for sign in SIGNS:
            if (limit := getattr(self, sign)) is not None:
                return sign, limit
        return "at_least", 1.0


class Told(_Declared):
    """Where a rule is told, and what signs it."""

    webhooks: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_WEBHOOKS)]
    secret: Annotated[str, Field(min_length=MIN_SECRET, max_length=256)] | None = None


def _understood(field: str, vocabulary: Any, text: str) -> None:
    try:
        parse(vocabulary, [("q", text)])
    except InvalidParameter as exc:
        raise ValueError(f"{field}: {exc}") from None


def rule(document: Any, rule_id: str) -> AlertRule:
    """Return the rule that a document without webhooks and secret declares; raises ``RuleProblem``."""
    try:
        return AlertRule.model_validate({**document, "id": rule_id})
    except ValidationError as exc:
        raise RuleProblem(pointed(exc)) from None


def taken_apart(
    document: Any, rule_id: str, *, allow_private: bool
) -> tuple[dict[str, Any], AlertRule, Told]:
    """Return the document, the rule and whom to tell of one that was put; raises ``RuleProblem``."""
    if not isinstance(document, Mapping):
        raise RuleProblem("a rule must be a JSON object")
    if document.get("id", rule_id) != rule_id:
        raise RuleProblem("id: the rule says another id")
    told = {name: document[name] for name in ("webhooks", "secret") if name in document}
    rest = {name: value for name, value in document.items() if name not in ("webhooks", "secret", "id")}
    found = rule(rest, rule_id)
    try:
        whom = Told.model_validate(told)
    except ValidationError as exc:
        raise RuleProblem(pointed(exc)) from None
    for place, url in enumerate(whom.webhooks):
        try:
            check_url(url, allow_private=allow_private)
        except AddressProblem as exc:
            raise RuleProblem(f"webhooks.{place}: {exc}") from None
    return rest, found, whom
