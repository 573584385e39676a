"""
What a foreign span comes to, in the words of the conventions.

A reader of another convention translates into ``xray.*`` attributes; the extraction types and
bounds them by the same rules as if they had been sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.extract.foreign import Inferred
from collector.inference.candidates import Candidate, FewFlags, columns, counts
from collector.inference.documents import Documents
from store.decisions import DecisionColumns
from xray_otel import semconv

_JSON_BEGINNINGS = ("{", "[")
_GAPS = (
    semconv.STEP_TYPE,
    "xray.candidates.",
    "xray.reasons.",
    "xray.score.",
    "xray.decisions.",
    semconv.METRIC_PREFIX,
    semconv.SELECTED_ID,
    semconv.STEP_TOP_K,
    "gen_ai.request.",
)
"""
What a step that names itself with ``xray.*`` takes from another convention: its type and figures.
Texts are left to whoever wrote the step, who may have had a reason to leave them out.
"""


@dataclass(slots=True)
class Finding:
    """A step of another convention; filled by one reader."""

    attributes: dict[str, Any] = field(default_factory=dict)
    chunks: Sequence[DecisionColumns] = ()
    flags: FewFlags = field(default_factory=FewFlags)
    unreadable: str | None = None
    lost: int = 0
    """Candidates that a limit of the sender's SDK removed, as far as that is known."""

    def take(self, sent: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Translate attributes; names: theirs → ours. Of several for one of ours the first wins."""
        for source, attribute in names.items():
            value = sent.get(source)
            if value is not None and attribute not in self.attributes:
                self.attributes[attribute] = value

    def say(self, attribute: str, sent: Any) -> None:
        """Set a text that others may have sent as JSON, as its text, or as plain words."""
        if sent is None or sent == "" or sent == {} or sent == [] or attribute in self.attributes:
            return
        plain = isinstance(sent, str) and sent.lstrip()[:1] not in _JSON_BEGINNINGS
        self.attributes[attribute] = {"text": sent} if plain else sent

    def judge(self, candidates: Sequence[Candidate], *, countable: bool = True) -> None:
        """
        Set the candidates and, when these are all there were, what can be counted of them.

        They go before any that were set already.
        """
        self.chunks = list(columns(candidates))
        if countable:
            self.attributes |= counts(candidates)

    def inferred(self, is_step: bool) -> Inferred:
        """Return what the extraction takes; is_step: only gaps are to be filled."""
        attributes = self.attributes
        if self.chunks:
            attributes |= {
                semconv.DECISIONS_RECORDED: sum(chunk.count for chunk in self.chunks),
                semconv.DECISIONS_CHUNKS: len(self.chunks),
            }
        if is_step:
            attributes = {name: value for name, value in attributes.items() if name.startswith(_GAPS)}
        return Inferred(attributes, tuple(self.flags), tuple(self.chunks), self.unreadable, self.lost)


def parameters(sent: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the attributes that were sent, by the names that readers see."""
    return {name: value for source, name in names.items() if (value := sent.get(source)) is not None}


def found_documents(documents: Documents | None, verdict: str, reason: str | None = None) -> list[Candidate]:
    """Return the documents that can be told apart as candidates of one verdict."""
    if documents is None:
        return []
    return [
        Candidate(item, verdict, reason, score=score) for item, score in documents.found if item is not None
    ]
