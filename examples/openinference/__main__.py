"""
LlamaIndex instrumented for somebody else: a retriever, a reranker and a model, and no X-Ray in it.

``python -m examples.openinference`` in an environment with requirements.txt; the usual
``OTEL_EXPORTER_OTLP_ENDPOINT`` says where the spans go. Everything is offline: the model
answers from a rule, and the embedding is a mock.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.postprocessor import StructuredLLMRerank
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PRODUCTS = ("phone case", "phone stand", "laptop stand", "laptop sleeve", "tablet stand", "desk lamp")
QUESTION = "a stand for a laptop"


class RuleModel(CustomLLM):  # type: ignore[misc,unused-ignore]
    """Finds a document relevant by the words that it shares with the question."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="rule-model")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002
        found = re.findall(r"Document (\d+):\n(.*)\n", prompt)
        question = set(QUESTION.split())
        marks = [
            {"document_number": int(number), "relevance": len(question & set(text.split()))}
            for number, text in found
        ]
        return CompletionResponse(text=json.dumps({"documents": marks}))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError("this model answers as a whole")


def main() -> None:
    logging.disable(logging.WARNING)  # that the model calls no functions
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    LlamaIndexInstrumentor().instrument(tracer_provider=provider)

    documents = [Document(text=text, doc_id=f"P{number}") for number, text in enumerate(PRODUCTS)]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))
    with provider.get_tracer("shop").start_as_current_span("answer") as root:
        found = index.as_retriever(similarity_top_k=len(PRODUCTS)).retrieve(QUESTION)
        best = StructuredLLMRerank(llm=RuleModel(), top_n=2).postprocess_nodes(found, query_str=QUESTION)
        run_id = f"{root.get_span_context().trace_id:032x}"
    provider.shutdown()
    sys.stdout.write(f"{run_id} {[node.text for node in best]}\n")


if __name__ == "__main__":
    main()
