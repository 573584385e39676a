"""Spans of OpenTelemetry's gen_ai and of OpenInference as steps: which, with what, and how bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.extract.flags import MAX_FLAGS
from collector.inference.candidates import CHUNK_CANDIDATES
from collector.inference.infer import SpanInference
from tests.fixtures.foreign_spans import (
    GEN_AI_CHAT,
    GEN_AI_RETRIEVAL,
    OPENINFERENCE_LLM,
    OPENINFERENCE_RERANKER,
    OPENINFERENCE_RETRIEVER,
    WOOD_STAND,
    decisions,
    flags,
    infer,
    inferred,
    verdicts,
)

KEPT = [("B01", "kept", None, 0.91), (WOOD_STAND, "kept", None, 0.5), ("B03", "kept", None, 0.4)]


def without(attributes: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in names}


class TestGenAi:
    def test_a_model_call_is_an_llm_step_with_tokens_and_parameters(self):
        found = inferred(GEN_AI_CHAT)
        assert found.attributes == {
            "xray.step.type": "llm",
            "gen_ai.request.model": "m-1-0613",
            "xray.metric.input_tokens": 12,
            "xray.metric.output_tokens": 3,
            "xray.step.input": GEN_AI_CHAT["gen_ai.input.messages"],
            "xray.step.output": GEN_AI_CHAT["gen_ai.output.messages"],
            "xray.step.reasoning": {
                "provider": "openai",
                "response_model": "m-1-0613",
                "max_tokens": 10,
                "top_k": 40.0,
                "finish_reasons": ["stop"],
            },
        } | {name: GEN_AI_CHAT[name] for name in ("gen_ai.request.model", "gen_ai.request.temperature")}
        assert not found.decisions

    @pytest.mark.parametrize("operation", ["chat", "text_completion", "generate_content"])
    def test_every_call_of_a_model_is_one(self, operation: str):
        assert inferred({"gen_ai.operation.name": operation}).attributes == {"xray.step.type": "llm"}

    @pytest.mark.parametrize(
        "operation",
        [
            "embeddings",
            "execute_tool",
            "invoke_agent",
            "create_agent",
            "invoke_workflow",
            "new",
            "",
            7,
            None,
            [],
        ],
    )
    def test_what_judges_no_candidates_or_contains_steps_is_none(self, operation: Any):
        assert infer({**GEN_AI_CHAT, "gen_ai.operation.name": operation}) is None

    def test_names_of_before_1_37_are_read(self):
        found = inferred(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "anthropic",
                "gen_ai.usage.prompt_tokens": 7,
                "gen_ai.usage.completion_tokens": 2,
                "gen_ai.prompt.1.role": "user",
                "gen_ai.prompt.1.content": "hi",
                "gen_ai.prompt.0.role": "system",
                "gen_ai.completion.0.content": "yo",
            }
        )
        assert found.attributes == {
            "xray.step.type": "llm",
            "xray.metric.input_tokens": 7,
            "xray.metric.output_tokens": 2,
            "xray.step.input": [{"role": "system"}, {"content": "hi", "role": "user"}],
            "xray.step.output": [{"content": "yo"}],
            "xray.step.reasoning": {"provider": "anthropic"},
        }

    def test_system_instructions_stand_before_the_messages(self):
        found = inferred(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.system_instructions": '[{"type":"text","content":"be brief"}]',
                "gen_ai.input.messages": [{"role": "user"}],
            }
        )
        assert found.attributes["xray.step.input"] == {
            "system_instructions": [{"type": "text", "content": "be brief"}],
            "messages": [{"role": "user"}],
        }

    @pytest.mark.parametrize("as_text", [False, True])
    def test_a_retrieval_is_a_search_whose_documents_are_kept(self, as_text: bool):
        documents = GEN_AI_RETRIEVAL["gen_ai.retrieval.documents"]
        sent = orjson.dumps(documents).decode() if as_text else documents
        found = inferred({**GEN_AI_RETRIEVAL, "gen_ai.retrieval.documents": sent})
        assert verdicts(found) == KEPT
        assert found.attributes == {
            "xray.step.type": "search",
            "xray.step.top_k": 10,
            "xray.step.input": {"query": "laptop stand"},
            "xray.step.reasoning": {"data_source": "catalogue"},
            "xray.sources.names": ["catalogue"],
            "xray.sources.counts": [3],
            "xray.candidates.out": 3,
            "xray.candidates.kept": 3,
            "xray.score.min": 0.4,
            "xray.score.max": 0.91,
            "xray.score.mean": pytest.approx(0.60333, abs=1e-5),
            "xray.score.std": pytest.approx(0.22065, abs=1e-5),
            "xray.score.p10": pytest.approx(0.42),
            "xray.score.p50": 0.5,
            "xray.score.p90": pytest.approx(0.828),
            "xray.decisions.recorded": 3,
            "xray.decisions.chunks": 1,
        }

    def test_a_retrieval_without_its_documents_has_no_counts(self):
        found = inferred({"gen_ai.operation.name": "retrieval"})
        assert found.attributes == {"xray.step.type": "search"}

    def test_a_retrieval_that_found_nothing_counts_nothing(self):
        found = inferred({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": []})
        assert found.attributes["xray.candidates.out"] == 0
        assert not found.decisions

    @pytest.mark.parametrize("sent", ['[{"id": "B0', "words", 7, {"id": "B01"}, True, "x" * (5 << 20)])
    def test_documents_that_cannot_be_read_are_said_to_be_so(self, sent: Any):
        found = inferred({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": sent})
        assert found.unreadable == "gen_ai.retrieval.documents is no array of documents"
        assert "xray.candidates.out" not in found.attributes

    def test_a_document_that_cannot_be_told_apart_is_counted_only(self):
        sent = [{"id": "B01"}, {}, {"score": 0.3}, "words", {"id": 17}, {"id": {}}]
        found = inferred({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": sent})
        assert [one.item_id for one in decisions(found)] == ["B01", "17"]
        assert found.attributes["xray.candidates.out"] == 6
        assert flags(found) == {
            ("wrong_type", "gen_ai.retrieval.documents"),
            ("wrong_type", "gen_ai.retrieval.documents.id"),
        }

    def test_a_hundred_thousand_documents_are_chunked_and_their_flags_bounded(self):
        sent = [{"id": f"B{number}", "score": "high"} for number in range(100_000)]
        found = inferred({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": sent})
        assert {columns.count for columns in found.decisions} == {CHUNK_CANDIDATES}
        assert found.attributes["xray.decisions.recorded"] == 100_000
        assert len(found.flags) == MAX_FLAGS


class TestOpenInference:
    def test_a_retriever_is_a_search_whose_documents_are_kept(self):
        found = inferred(OPENINFERENCE_RETRIEVER)
        assert verdicts(found) == KEPT
        assert found.attributes["xray.step.type"] == "search"
        assert found.attributes["xray.candidates.out"] == 3
        assert "xray.candidates.in" not in found.attributes
        assert found.attributes["xray.step.input"] == {"text": "laptop stand"}

    def test_a_retriever_without_documents_found_none(self):
        found = inferred({"openinference.span.kind": "RETRIEVER"})
        assert found.attributes["xray.candidates.out"] == 0

    def test_a_reranker_keeps_its_output_and_lets_the_rest_lose_on_rank(self):
        found = inferred(OPENINFERENCE_RERANKER)
        assert verdicts(found) == [
            ("B03", "kept", None, 0.99),
            ("B01", "not_selected", "not_in_output", None),
            (WOOD_STAND, "not_selected", "not_in_output", None),
        ]
        assert (
            found.attributes.items()
            >= {
                "xray.step.type": "rank",
                "xray.step.top_k": 1,
                "gen_ai.request.model": "ce-1",
                "xray.candidates.in": 3,
                "xray.candidates.out": 1,
                "xray.candidates.kept": 1,
                "xray.candidates.not_selected": 2,
            }.items()
        )
        assert found.attributes["xray.reasons.codes"] == ["not_in_output"]
        assert found.attributes["xray.reasons.counts"] == [2]
        assert found.attributes["xray.step.input"] == {"query": "laptop stand"}

    def test_a_document_that_went_in_twice_and_came_out_once_lost_once(self):
        names = {f"reranker.input_documents.{at}.document.id": "B01" for at in range(2)}
        found = inferred(
            {
                "openinference.span.kind": "RERANKER",
                **names,
                "reranker.output_documents.0.document.id": "B01",
            }
        )
        assert [one.verdict for one in decisions(found)] == ["kept", "not_selected"]

    def test_a_model_call_is_an_llm_step(self):
        found = inferred(OPENINFERENCE_LLM)
        assert found.attributes == {
            "xray.step.type": "llm",
            "gen_ai.request.model": "m-1",
            "gen_ai.request.temperature": 0.2,
            "xray.metric.input_tokens": 12,
            "xray.metric.output_tokens": 3,
            "xray.metric.total_tokens": 15,
            "xray.step.input": [{"content": "hi", "role": "user"}],
            "xray.step.output": [{"content": "yo", "role": "assistant"}],
            "xray.step.reasoning": {
                "temperature": 0.2,
                "max_tokens": 10,
                "provider": "openai",
                "system": "openai",
            },
        }

    @pytest.mark.parametrize(
        "kind",
        ["CHAIN", "AGENT", "TOOL", "EMBEDDING", "GUARDRAIL", "DECISION", "llm", 1, None, []],
    )
    def test_the_other_kinds_are_no_steps(self, kind: Any):
        assert infer({**OPENINFERENCE_LLM, "openinference.span.kind": kind}) is None

    def test_a_kind_that_is_no_step_leaves_the_span_to_gen_ai(self):
        found = inferred({**GEN_AI_CHAT, "openinference.span.kind": "CHAIN"})
        assert found.attributes["xray.step.type"] == "llm"

    def test_of_both_conventions_openinference_decides(self):
        found = inferred({**GEN_AI_CHAT, **OPENINFERENCE_RETRIEVER})
        assert found.attributes["xray.step.type"] == "search"

    def test_holes_strange_indexes_and_wrong_types_cost_nothing_and_raise_nothing(self):
        prefix = "retrieval.documents"
        found = inferred(
            {
                "openinference.span.kind": "RETRIEVER",
                f"{prefix}.999999999.document.id": "last",
                f"{prefix}.7.document.id": "seventh",
                f"{prefix}.99999999999999999999.document.id": "beyond",
                f"{prefix}.-1.document.id": "before",
                f"{prefix}.x.document.id": "nowhere",
                f"{prefix}.²  .document.id": "squared",
                f"{prefix}.7": "no field",
                f"{prefix}.": "no index",
                f"{prefix}.8.document.score": b"bytes",
                f"{prefix}.9.document.id": [1],
            }
        )
        assert [one.item_id for one in decisions(found)] == ["seventh", "last"]
        assert found.attributes["xray.candidates.out"] == 4

    @pytest.mark.parametrize(
        ("first", "dropped", "out"),
        [
            pytest.param(57, 171, 100, id="the oldest were removed: the last index tells how many"),
            pytest.param(0, 171, None, id="the newest were refused: nothing tells"),
            pytest.param(57, 3, None, id="more is missing than was dropped"),
            pytest.param(0, 0, 100, id="nothing was dropped"),
        ],
    )
    def test_a_list_that_met_the_attribute_limit_says_so(self, first: int, dropped: int, out: int | None):
        names = {f"retrieval.documents.{at}.document.id": f"B{at}" for at in range(first, 100)}
        found = inferred({"openinference.span.kind": "RETRIEVER", **names}, dropped_attributes=dropped)
        assert found.attributes["xray.candidates.out"] == out
        assert found.attributes["xray.decisions.recorded"] == 100 - first
        assert found.lost == (57 if first and out else 0)
        assert flags(found) == ({("decisions_missing", "retrieval.documents")} if dropped else set())

    def test_a_list_of_any_length_is_read(self):
        names = {f"reranker.input_documents.{at * 1000}.document.id": f"B{at}" for at in range(50_000)}
        found = inferred({"openinference.span.kind": "RERANKER", **names})
        assert found.attributes["xray.candidates.not_selected"] == 50_000

    def test_a_reranker_that_lost_attributes_blames_nobody(self):
        found = inferred(OPENINFERENCE_RERANKER, dropped_attributes=9)
        assert [(one.item_id, one.verdict) for one in decisions(found)] == [("B03", "kept")]
        assert found.attributes["xray.candidates.in"] is None
        assert "xray.candidates.not_selected" not in found.attributes


class TestGapsOfExplicitSteps:
    def test_figures_are_filled_and_texts_are_not(self):
        found = inferred(GEN_AI_CHAT, is_step=True)
        assert set(found.attributes) == {
            "xray.step.type",
            "gen_ai.request.model",
            "gen_ai.request.temperature",
            "xray.metric.input_tokens",
            "xray.metric.output_tokens",
        }

    def test_documents_become_its_candidates(self):
        found = inferred(GEN_AI_RETRIEVAL, is_step=True)
        assert verdicts(found) == KEPT
        assert found.attributes["xray.candidates.out"] == 3
        assert "xray.step.input" not in found.attributes

    def test_nothing_is_filled_by_what_tells_of_no_step(self):
        assert inferred({"gen_ai.operation.name": "embeddings"}, is_step=True).attributes == {}


class TestSwitches:
    def test_each_convention_can_be_switched_off(self):
        only_gen_ai, only_openinference = SpanInference(["gen_ai"]), SpanInference(["openinference"])
        assert infer(OPENINFERENCE_LLM, only_gen_ai) is None
        assert infer(GEN_AI_CHAT, only_openinference) is None
        assert infer(GEN_AI_CHAT, only_gen_ai)
        assert infer(OPENINFERENCE_LLM, only_openinference)
        assert only_gen_ai.needles == (b"gen_ai.operation.name",)
        assert only_openinference.needles == (b"openinference.span.kind",)

    def test_without_any_nothing_is_looked_for(self):
        nothing = SpanInference([])
        assert nothing.needles == ()
        assert not any(map(nothing.wants, (*GEN_AI_CHAT, *OPENINFERENCE_RETRIEVER)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    sorted(
        {
            *GEN_AI_CHAT,
            *GEN_AI_RETRIEVAL,
            *OPENINFERENCE_LLM,
            *OPENINFERENCE_RERANKER,
            *OPENINFERENCE_RETRIEVER,
        }
    )
)
OPERATIONS = st.sampled_from(
    [{"gen_ai.operation.name": "chat"}, {"gen_ai.operation.name": "retrieval"}]
    + [{"openinference.span.kind": kind} for kind in ("RETRIEVER", "RERANKER", "LLM")]
)


@given(st.dictionaries(NAMES, VALUES), OPERATIONS, st.booleans(), st.integers(0, 200))
def test_any_values_give_a_step_whose_parts_agree(
    sent: dict[str, Any], operation: dict[str, str], is_step: bool, dropped: int
):
    found = inferred({**sent, **operation}, is_step=is_step, dropped_attributes=dropped)
    total = sum(columns.count for columns in found.decisions)
    assert found.attributes.get("xray.decisions.recorded", 0) == total == len(decisions(found))
    assert len(found.flags) <= MAX_FLAGS
