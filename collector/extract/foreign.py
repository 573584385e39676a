"""
What somebody else's attributes come to: the seam between reading spans and inferring steps from them.

Nothing here knows gen_ai, OpenInference or a team's mapping; an ``Inference`` does. Without
one, the decoders look for ``xray.`` alone and nobody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from collector.records import SpanRecord
from store.decisions import DecisionColumns
from store.rows import Flag


class Inferred(NamedTuple):
    """What was inferred from one span; what the span says itself with ``xray.*`` goes before it."""

    attributes: Mapping[str, Any]
    """By our names (``xray.step.type``, ``xray.candidates.in`` …), values as OTLP has them."""
    flags: Sequence[Flag] = ()
    decisions: Sequence[DecisionColumns] = ()
    """One per chunk; few and small, since they came inside a span."""
    unreadable: str | None = None
    """Why decisions that the span carries could not be read."""
    lost: int = 0
    """Candidates that a limit of the sender's SDK removed from the span, as far as that is known."""


class Inference(Protocol):
    """Reads spans by other names than ours. Pure: the same span gives the same answer on every collector."""

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Beginnings of attribute names; a span without any of them and without ``xray.`` is foreign."""
        ...

    @property
    def renamed(self) -> Mapping[str, str]:
        """A team's own attribute name → the ``xray.*`` name that it stands for, one to one."""
        ...

    def wants(self, name: str) -> bool:
        """
        Tell whether ``infer`` is to see the attribute of this name.

        Asked for names that are not ours and not renamed, about once per name.
        """
        ...

    def infer(self, span: SpanRecord, others: Mapping[str, Any], is_step: bool) -> Inferred | None:
        """
        Return what the span comes to; None when it is no step.

        others: the attributes that ``wants`` chose. is_step: by its ``xray.*`` attributes it
        is a step already, and only gaps are filled. Asked for a span that has others or
        events and is not a run's. Never raises for what was sent.
        """
        ...
