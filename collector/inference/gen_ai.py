"""
``gen_ai.*`` of OpenTelemetry: model calls become ``llm`` steps, retrievals ``search`` steps.

Source: OpenTelemetry GenAI semantic conventions, "Inference" and "Retrievals", with the names
that 1.36 and before had. An agent, a workflow or a tool call is no step: it is what contains
steps, and its time and tokens would count twice. An embedding judges no candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.inference.candidates import KEPT
from collector.inference.documents import flattened, listed, parsed
from collector.inference.finding import Finding, found_documents, parameters
from xray_otel import semconv

OPERATION: Final = "gen_ai.operation.name"
"""Required on every span of these conventions; one without it is not looked at."""

_MODEL_CALLS = frozenset({"chat", "text_completion", "generate_content"})
_RETRIEVAL = "retrieval"
_DOCUMENTS = "gen_ai.retrieval.documents"
_DATA_SOURCE = "gen_ai.data_source.id"
_QUERY = "gen_ai.retrieval.query.text"

_METRIC = semconv.METRIC_PREFIX
_COMMON = {
    "gen_ai.request.model": semconv.GEN_AI_REQUEST_MODEL,
    "gen_ai.response.model": semconv.GEN_AI_REQUEST_MODEL,
    "gen_ai.request.temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "gen_ai.usage.input_tokens": f"{_METRIC}input_tokens",
    "gen_ai.usage.prompt_tokens": f"{_METRIC}input_tokens",
    "gen_ai.usage.output_tokens": f"{_METRIC}output_tokens",
    "gen_ai.usage.completion_tokens": f"{_METRIC}output_tokens",
    "gen_ai.usage.total_tokens": f"{_METRIC}total_tokens",
    "gen_ai.usage.reasoning.output_tokens": f"{_METRIC}reasoning_tokens",
    "gen_ai.usage.cache_read.input_tokens": f"{_METRIC}cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": f"{_METRIC}cache_creation_tokens",
    "gen_ai.response.time_to_first_chunk": f"{_METRIC}time_to_first_chunk_s",
}
_ASKED_FOR = {
    "gen_ai.retrieval.top_k": semconv.STEP_TOP_K,
    "gen_ai.request.top_k": semconv.STEP_TOP_K,
}
# On a model call top_k is a setting of the sampler, not a number of candidates.
_PARAMETERS = {
    "gen_ai.provider.name": "provider",
    "gen_ai.system": "provider",
    "gen_ai.response.model": "response_model",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.top_k": "top_k",
    "gen_ai.request.max_tokens": "max_tokens",
    "gen_ai.request.seed": "seed",
    "gen_ai.request.choice.count": "choice_count",
    "gen_ai.request.stop_sequences": "stop_sequences",
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.output.type": "output_type",
    "gen_ai.prompt.name": "prompt",
    "gen_ai.response.finish_reasons": "finish_reasons",
}
_INPUT = ("gen_ai.input.messages", "gen_ai.prompt")
_OUTPUT = ("gen_ai.output.messages", "gen_ai.completion")
_SYSTEM = "gen_ai.system_instructions"

_NAMES = frozenset(
    {*_COMMON, *_ASKED_FOR, *_PARAMETERS, *_INPUT, *_OUTPUT, _SYSTEM}
    | {OPERATION, _DOCUMENTS, _DATA_SOURCE, _QUERY}
)
_FLATTENED = ("gen_ai.prompt.", "gen_ai.completion.")
"""Messages of instrumentations from before ``gen_ai.input.messages``, flattened."""


def wants(name: str) -> bool:
    """Tell whether ``read`` looks at the attribute."""
    return name in _NAMES or name.startswith(_FLATTENED)


def read(sent: Mapping[str, Any]) -> Finding | None:
    """Return the step that these attributes tell of, None when they tell of none."""
    operation = sent.get(OPERATION)
    if operation == _RETRIEVAL:
        return _retrieval(sent)
    if isinstance(operation, str) and operation in _MODEL_CALLS:
        return _model_call(sent)
    return None


def _model_call(sent: Mapping[str, Any]) -> Finding:
    finding = Finding({semconv.STEP_TYPE: "llm"})
    finding.take(sent, _COMMON)
    old = flattened(sent, ("gen_ai.prompt", "gen_ai.completion"))
    for attribute, names in ((semconv.STEP_INPUT, _INPUT), (semconv.STEP_OUTPUT, _OUTPUT)):
        for name in names:
            finding.say(attribute, sent.get(name) or messages(old.get(name, {})))
    if sent.get(_SYSTEM):
        finding.attributes[semconv.STEP_INPUT] = {
            "system_instructions": parsed(sent[_SYSTEM]),
            "messages": parsed(finding.attributes.get(semconv.STEP_INPUT)),
        }
    finding.say(semconv.STEP_REASONING, parameters(sent, _PARAMETERS))
    return finding


def messages(entries: Mapping[int, Mapping[str, Any]], prefix: str = "") -> list[dict[str, Any]]:
    """Return flattened messages in their order; of each what has no further levels."""
    return [
        {
            field.removeprefix(prefix): value
            for field, value in sorted(entries[index].items())
            if field.startswith(prefix) and "." not in field.removeprefix(prefix)
        }
        for index in sorted(entries)
    ]


def _retrieval(sent: Mapping[str, Any]) -> Finding:
    finding = Finding({semconv.STEP_TYPE: "search"})
    finding.take(sent, _COMMON | _ASKED_FOR)
    if _DOCUMENTS in sent:
        documents = listed(sent[_DOCUMENTS], _DOCUMENTS, finding.flags)
        if documents is None:
            finding.unreadable = f"{_DOCUMENTS} is no array of documents"
        else:
            finding.judge(found_documents(documents, KEPT))
            finding.attributes[semconv.CANDIDATES_OUT] = documents.total
            finding.attributes[semconv.CANDIDATES_KEPT] = documents.total
            if isinstance(sent.get(_DATA_SOURCE), str):
                finding.attributes[semconv.SOURCES_NAMES] = [sent[_DATA_SOURCE]]
                finding.attributes[semconv.SOURCES_COUNTS] = [documents.total]
    if isinstance(sent.get(_QUERY), str):
        finding.attributes[semconv.STEP_INPUT] = {"query": sent[_QUERY]}
    finding.say(semconv.STEP_REASONING, parameters(sent, {_DATA_SOURCE: "data_source"}))
    return finding
