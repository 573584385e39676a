"""
OpenInference: ``RETRIEVER`` spans become ``search`` steps, ``RERANKER`` ``rank``, ``LLM`` ``llm``.

Source: OpenInference semantic conventions (``openinference-semantic-conventions`` 0.1.42).
The other kinds are no steps: ``CHAIN`` and ``AGENT`` contain them, ``TOOL`` may be anything,
``EMBEDDING`` judges nothing, ``GUARDRAIL`` and ``EVALUATOR`` look at texts, not candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from collector.inference.candidates import KEPT, NOT_SELECTED, Candidate
from collector.inference.documents import Documents, flattened, parsed, unflattened
from collector.inference.finding import Finding, found_documents, parameters
from collector.inference.gen_ai import messages
from xray_otel import semconv

KIND: Final = "openinference.span.kind"
"""Required on every span of this convention; one without it is not looked at."""
NOT_IN_OUTPUT: Final = "not_in_output"
"""Reason of documents that went into a reranker and did not come out: they lost on rank."""

_RETRIEVED = "retrieval.documents"
_RANKED_IN, _RANKED_OUT = "reranker.input_documents", "reranker.output_documents"
_MESSAGES_IN, _MESSAGES_OUT = "llm.input_messages", "llm.output_messages"
_FLATTENED = (
    f"{_RETRIEVED}.",
    f"{_RANKED_IN}.",
    f"{_RANKED_OUT}.",
    f"{_MESSAGES_IN}.",
    f"{_MESSAGES_OUT}.",
)
_INPUT, _OUTPUT, _QUERY = "input.value", "output.value", "reranker.query"
_INVOCATION = "llm.invocation_parameters"

_METRIC = semconv.METRIC_PREFIX
_MODEL_CALL = {
    "llm.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "llm.request.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "llm.response.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "llm.token_count.prompt": f"{_METRIC}input_tokens",
    "llm.token_count.completion": f"{_METRIC}output_tokens",
    "llm.token_count.total": f"{_METRIC}total_tokens",
    "llm.token_count.completion_details.reasoning": f"{_METRIC}reasoning_tokens",
    "llm.token_count.prompt_details.cache_read": f"{_METRIC}cache_read_tokens",
    "llm.token_count.prompt_details.cache_write": f"{_METRIC}cache_creation_tokens",
    "llm.cost.total": f"{_METRIC}cost_usd",
}
_RANKING = {
    "reranker.model_name": semconv.GEN_AI_REQUEST_MODEL,
    "reranker.top_k": semconv.STEP_TOP_K,
}
_PARAMETERS = {
    "llm.provider": "provider",
    "llm.system": "system",
    "llm.prompt_template.version": "prompt_version",
    "llm.finish_reason": "finish_reason",
}
_NAMES = frozenset({*_MODEL_CALL, *_RANKING, *_PARAMETERS, KIND, _INPUT, _OUTPUT, _QUERY, _INVOCATION})


def wants(name: str) -> bool:
    """Tell whether ``read`` looks at the attribute."""
    return name in _NAMES or name.startswith(_FLATTENED)


def read(sent: Mapping[str, Any], dropped_attributes: int) -> Finding | None:
    """
    Return the step that these attributes tell of, None when they tell of none.

    dropped_attributes: how many the sender's limit removed; flattened lists meet it first.
    """
    kind = sent.get(KIND)
    if kind == "RETRIEVER":
        return _retriever(sent, dropped_attributes)
    if kind == "RERANKER":
        return _reranker(sent, dropped_attributes)
    return _model_call(sent) if kind == "LLM" else None


def _retriever(sent: Mapping[str, Any], dropped: int) -> Finding:
    finding = Finding({semconv.STEP_TYPE: "search"})
    lists = flattened(sent, (_RETRIEVED,))
    documents = unflattened(lists[_RETRIEVED], _RETRIEVED, dropped, finding.flags)
    # A retriever that found nothing has no attribute of a document; nor has one whose were all lost.
    if documents is None and not dropped:
        documents = Documents((), 0, whole=True)
    if documents is not None:
        finding.judge(found_documents(documents, KEPT))
        _count(finding, documents, semconv.CANDIDATES_OUT, semconv.CANDIDATES_KEPT)
    finding.say(semconv.STEP_INPUT, sent.get(_INPUT))
    return finding


def _reranker(sent: Mapping[str, Any], dropped: int) -> Finding:
    finding = Finding({semconv.STEP_TYPE: "rank"})
    finding.take(sent, _RANKING)
    lists = flattened(sent, (_RANKED_IN, _RANKED_OUT))
    given = unflattened(lists[_RANKED_IN], _RANKED_IN, dropped, finding.flags)
    ranked = unflattened(lists[_RANKED_OUT], _RANKED_OUT, dropped, finding.flags)
    if ranked is None and not dropped:
        ranked = Documents((), 0, whole=True)
    if ranked is not None:
        lost = _lost(given, ranked)
        finding.judge([*found_documents(ranked, KEPT), *lost])
        _count(finding, ranked, semconv.CANDIDATES_OUT, semconv.CANDIDATES_KEPT)
    finding.attributes[semconv.CANDIDATES_IN] = given and given.total
    finding.say(semconv.STEP_INPUT, {"query": sent[_QUERY]} if sent.get(_QUERY) else sent.get(_INPUT))
    return finding


def _lost(given: Documents | None, ranked: Documents) -> list[Candidate]:
    """
    Return the documents that went in and did not come out.

    None of them when a part of either list is missing or nameless: its documents would seem lost.
    An item that went in twice and came out once lost once.
    """
    if given is None or not (given.whole and ranked.whole):
        return []
    if any(document.item is None for document in (*given.found, *ranked.found)):
        return []
    came_out = Counter(document.item for document in ranked.found)
    lost = []
    for item, _ in given.found:
        if came_out[item] > 0:
            came_out[item] -= 1
        elif item is not None:
            lost.append(Candidate(item, NOT_SELECTED, NOT_IN_OUTPUT))
    return lost


def _count(finding: Finding, documents: Documents, *attributes: str) -> None:
    """Set counts of the whole list, which may hold documents that are no candidates of ours."""
    finding.attributes |= dict.fromkeys(attributes, documents.total)
    if documents.total is not None and not documents.whole:
        finding.lost = documents.total - len(documents.found)


def _model_call(sent: Mapping[str, Any]) -> Finding:
    finding = Finding({semconv.STEP_TYPE: "llm"})
    finding.take(sent, _MODEL_CALL)
    lists = flattened(sent, (_MESSAGES_IN, _MESSAGES_OUT))
    finding.say(semconv.STEP_INPUT, messages(lists[_MESSAGES_IN], "message.") or sent.get(_INPUT))
    finding.say(semconv.STEP_OUTPUT, messages(lists[_MESSAGES_OUT], "message.") or sent.get(_OUTPUT))
    invocation = parsed(sent.get(_INVOCATION))
    applied = parameters(sent, _PARAMETERS)
    if isinstance(invocation, dict):
        if "temperature" in invocation:
            finding.attributes[semconv.GEN_AI_REQUEST_TEMPERATURE] = invocation["temperature"]
        applied = invocation | applied
    finding.say(semconv.STEP_REASONING, applied)
    return finding
