"""
Which of the other words are read, and the reading of one span.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from collector.extract.foreign import Inferred
from collector.inference import gen_ai, openinference, shapes
from collector.inference.finding import Finding
from collector.inference.mapping import NO_MAPPING, TeamMapping
from collector.records import SpanRecord

GEN_AI: Final = "gen_ai"
OPENINFERENCE: Final = "openinference"
CONVENTIONS: Final = (GEN_AI, OPENINFERENCE)


class SpanInference:
    """
    Reads other conventions, a team's names, and other shapes of decisions.

    Of several that know a span one decides: the team's mapping, then OpenInference, then gen_ai.
    """

    def __init__(self, conventions: Collection[str] = CONVENTIONS, mapping: TeamMapping = NO_MAPPING) -> None:
        """conventions: of ``CONVENTIONS``, those that are read."""
        self._gen_ai = GEN_AI in conventions
        self._openinference = OPENINFERENCE in conventions
        self._mapping = mapping
        # Whole names: a longer needle is found, and missed, faster.
        names = [gen_ai.OPERATION] * self._gen_ai + [openinference.KIND] * self._openinference
        self._needles = (*(name.encode() for name in names), *mapping.needles)

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Bytes of which a span that concerns us holds at least one, when it holds no ``xray.``."""
        return self._needles

    @property
    def renamed(self) -> Mapping[str, str]:
        """A team's own attribute name → the one of ours that it stands for."""
        return self._mapping.renamed

    def wants(self, name: str) -> bool:
        """Tell whether ``infer`` is to see the attribute of this name."""
        return (
            name in shapes.NAMES
            or (self._gen_ai and gen_ai.wants(name))
            or (self._openinference and openinference.wants(name))
            or self._mapping.wants(name)
        )

    def infer(self, span: SpanRecord, others: Mapping[str, Any], is_step: bool) -> Inferred | None:
        """Return what the span comes to, None when it is no step (``extract.foreign.Inference``)."""
        finding = self._find(span, others)
        if finding is None:
            if not is_step:
                return None
            finding = Finding()
        shapes.carried(span, self._mapping.translated(others), finding)
        return finding.inferred(is_step)

    def _find(self, span: SpanRecord, others: Mapping[str, Any]) -> Finding | None:
        finding = self._mapping.read(span.name, others)
        if finding is None and self._openinference:
            finding = openinference.read(others, span.dropped_attributes)
        if finding is None and self._gen_ai:
            finding = gen_ai.read(others)
        return finding
