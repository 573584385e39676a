"""Attributes of the spans and events that the fuzzer begins with, one per way through the extraction."""

from __future__ import annotations

from typing import Any, Final

_STEP: Final = {"xray.span.kind": "step", "xray.run.id": "r", "xray.step.id": "s", "xray.step.attempt": 1}

SPANS: Final[list[dict[str, Any]]] = [
    {
        **_STEP,
        "xray.step.type": "filter",
        "xray.candidates.in": 5,
        "xray.candidates.out": 2,
        "xray.reasons.codes": ["too_dear", "no_type"],
        "xray.reasons.counts": [2, 1],
        "xray.score.mean": 0.5,
        "xray.metric.recall": 0.9,
        "xray.fields.names": ["price"],
        "xray.fields.missing": [0.1],
        "xray.sources.names": ["main"],
        "xray.sources.counts": [5],
        "xray.step.parents": ["a"],
        "xray.step.input": '{"max": 5}',
    },
    {"xray.pipeline.name": "p", "xray.run.entity": "e", "xray.run.tag.shop": "a", "xray.run.timeout_s": 5},
    {"xray.run.id": "r", "http.request.method": "GET"},
    {**_STEP, "xray.decisions.items": ["a", "b"], "xray.decisions.verdicts": ["K", "E"]},
    {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 5},
    {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": '[{"id":"a","score":0.5}]'},
    {
        "openinference.span.kind": "RERANKER",
        "reranker.top_k": 1,
        "reranker.input_documents.0.document.id": "a",
        "reranker.input_documents.1.document.id": "b",
        "reranker.output_documents.0.document.id": "b",
        "reranker.output_documents.0.document.score": 0.9,
    },
    {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.content": "text"},
]

EVENTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("xray.run.start", {"xray.run.id": "r", "xray.pipeline.name": "p"}),
    ("xray.run.heartbeat", {"xray.run.id": "r"}),
    ("xray.run.wait", {"xray.run.id": "r", "xray.run.wait.until_unix_nano": 1_795_000_000_000_000_000}),
    ("xray.run.end", {"xray.run.id": "r", "xray.run.status": "completed"}),
    (
        "xray.step",
        {**_STEP, "xray.step.status": "ok", "xray.step.start_unix_nano": 1_795_000_000_000_000_000},
    ),
    ("xray.artifact", {**_STEP, "xray.artifact.kind": "prompt", "xray.artifact.data": "hello"}),
    ("xray.losses", {"xray.run.id": "r"}),
]
