"""A team's own names: what the YAML file does, and what it says when it is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.extract.foreign import Inferred
from collector.inference.infer import SpanInference
from collector.inference.mapping_file import MappingError, load, parse
from collector.settings import CollectorSettings
from store.errors import SettingsError
from store.settings import load as load_settings
from tests.fixtures.foreign_spans import GEN_AI_CHAT, infer, inferred, verdicts

ROOT = Path(__file__).parents[2]
SHOP = """
    version: 1
    attributes:
      shop.run: xray.run.id
      shop.job: xray.pipeline.name
      shop.n_in: xray.candidates.in
      shop.recall: xray.metric.recall
      shop.ids: xray.decisions.items
      shop.verdicts: xray.decisions.verdicts
    steps:
      - type: filter
        where: {shop.stage: [price, rating], shop.live: true}
        attributes: {shop.n_out: xray.candidates.out}
      - type: reranker
        span_name: "rank *"
        attributes: {ranker.model: gen_ai.request.model}
      - type: custom
        where: {audit: "*"}
"""


def shop(text: str = SHOP, conventions: tuple[str, ...] = ()) -> SpanInference:
    return SpanInference(conventions, parse(dedent(text)))


def found(attributes: dict[str, Any], **of_span: Any) -> Inferred:
    return inferred(attributes, shop(), **of_span)


class TestWhatItDoes:
    def test_plain_names_are_renamed_by_the_reading_and_those_of_decisions_are_not(self):
        assert shop().renamed == {
            "shop.run": "xray.run.id",
            "shop.job": "xray.pipeline.name",
            "shop.n_in": "xray.candidates.in",
            "shop.recall": "xray.metric.recall",
        }
        assert shop().wants("shop.ids")
        assert not shop().wants("shop.run")
        assert not shop().wants("shop.unknown")

    def test_names_of_one_namespace_share_a_needle(self):
        assert shop().needles == (b"audit", b"ranker.", b"shop.")
        assert shop(conventions=("gen_ai",)).needles == (
            b"gen_ai.operation.name",
            b"audit",
            b"ranker.",
            b"shop.",
        )

    def test_a_span_with_these_values_is_a_step(self):
        step = found({"shop.stage": "rating", "shop.live": True, "shop.n_out": 3})
        assert step.attributes == {"xray.step.type": "filter", "xray.candidates.out": 3}

    @pytest.mark.parametrize(
        "sent",
        [
            {"shop.stage": "rating"},
            {"shop.stage": "rating", "shop.live": 1},
            {"shop.stage": "rating", "shop.live": "true"},
            {"shop.stage": ["rating"], "shop.live": True},
            {"shop.live": True},
        ],
    )
    def test_a_span_with_other_values_is_none(self, sent: dict[str, Any]):
        assert infer(sent, shop()) is None

    @pytest.mark.parametrize(("name", "fits"), [("rank titles", True), ("rank", False), ("re rank x", False)])
    def test_a_span_of_this_name_is_a_step_when_it_has_one_of_the_attributes(self, name: str, fits: bool):
        step = infer({"ranker.model": "m"}, shop(), name=name)
        assert (step is not None) is fits
        assert infer({"shop.ids": ["a"]}, shop(), name=name) is None

    def test_an_alias_of_a_step_type_is_taken(self):
        assert found({"ranker.model": "m"}, name="rank x").attributes["xray.step.type"] == "rank"

    def test_any_value_is_enough_where_that_is_asked(self):
        assert found({"audit": None}).attributes == {"xray.step.type": "custom"}

    def test_the_first_rule_that_fits_decides(self):
        step = found({"shop.stage": "price", "shop.live": True, "audit": "x"})
        assert step.attributes["xray.step.type"] == "filter"

    def test_a_teams_rule_goes_before_the_conventions(self):
        inference = shop(conventions=("gen_ai", "openinference"))
        step = inferred({**GEN_AI_CHAT, "audit": 1}, inference)
        assert step.attributes == {"xray.step.type": "custom"}

    def test_arrays_of_decisions_may_have_names_of_the_team(self):
        step = found({"audit": 1, "shop.ids": ["a", "b"], "shop.verdicts": ["kept", "E"]})
        assert verdicts(step) == [("a", "kept", None, None), ("b", "eliminated", None, None)]

    def test_a_step_takes_the_type_of_the_rule_when_it_has_none(self):
        step = found({"shop.stage": "price", "shop.live": True}, is_step=True)
        assert step.attributes == {"xray.step.type": "filter"}

    def test_a_file_with_a_version_alone_does_nothing(self):
        assert shop("version: 1").needles == ()
        assert shop("version: 1\nsteps: []\nattributes: {}").needles == ()


STEP = "version: 1\nsteps:\n  - "
FILTER = STEP + "type: filter\n    "
NAMES = "version: 1\nattributes:\n  "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; at least `version: 1` is due"),
        ("[1]", "line 1: the file is a map of names to values"),
        ("attributes: {}", "line 1: `version: 1` is missing"),
        ("version: 2", "line 1: version '2' is not known, 1 is"),
        ("version: '1'", "line 1: version '1' is not known, 1 is"),
        ("version: 1\nrules: []", "line 2: the file has no `rules`; it has version, attributes, steps"),
        ("version: 1\nversion: 1", "line 2: the file has `version` twice"),
        ("version: 1\nattributes: [a]", "line 2: attributes is a map of names to values"),
        (
            NAMES + "a: b",
            "line 3: 'b' is no attribute of X-Ray (docs/conventions.md",
        ),
        (NAMES + "a.b: xray.metric.", "line 3: 'xray.metric.' is no attribute of X-Ray"),
        (
            NAMES + "a.b: xray.step.decisions",
            "line 3: 'xray.step.decisions' is no attribute",
        ),
        (NAMES + "a.b: {}", "line 3: a list or map is no attribute of X-Ray"),
        (NAMES + "xray.a: xray.run.id", "line 3: xray.a is X-Ray's own name"),
        (NAMES + "error.type: xray.step.name", "line 3: error.type is X-Ray's own name"),
        (
            STEP + "{type: llm, where: {gen_ai.request.model: '*'}}",
            "line 3: gen_ai.request.model is X-Ray's own",
        ),
        (
            STEP + "{type: llm, where: {xray.pipeline.name: shop}}",
            "line 3: xray.pipeline.name is X-Ray's own",
        ),
        (
            NAMES + "a: xray.run.id\n  b: xray.run.id",
            "line 4: xray.run.id stands for two names",
        ),
        (NAMES + "7: xray.run.id", "line 3: attributes: a name is due, '7' is none"),
        ("version: 1\nsteps: {}", "line 2: steps is a list"),
        (STEP + "filter", "line 3: a step is a map of names to values"),
        (
            STEP + "{where: {a: 1}}",
            "line 3: `type` is missing: a step type (custom, filter, llm, rank,",
        ),
        (STEP + "type: sift\n    where: {a: 1}", "line 3: type 'sift' is not a step type (custom, filter,"),
        (STEP + "type: [filter]\n    where: {a: 1}", "line 3: type a list or map is not a step type"),
        (FILTER + "span_name: x", "line 3: a step needs `where` or `attributes`"),
        (
            FILTER + "span_name: [x]\n    where: {a: 1}",
            "line 4: span_name a list or map is not a name",
        ),
        (
            FILTER + "where:\n      a: {b: 1}",
            "line 5: a: a text, number, true or false is due",
        ),
        (FILTER + "where:\n      a: []", "line 5: a: a text, number, true or false is due"),
        (FILTER + "where:\n      a: null", "line 5: a: a text, number, true or false is due"),
        (
            "version: 1\nattributes: {a: xray.run.id}\nsteps:\n  - {type: rank, where: {a: 1}}",
            "line 4: a stands under the file's attributes already; name it in the steps alone",
        ),
        ("version: 1\n  bad: [", "line 2: mapping values are not allowed here"),
        ("version: 1\nattributes: *nowhere", "line 2: found undefined alias"),
        ("a: \0", "it is no YAML"),
        ("\ud800".encode("utf-8", "surrogatepass"), "it is no YAML"),
        (
            "version: 1\nattributes:\n" + "".join(f"  a{at}: xray.metric.m{at}\n" for at in range(9)),
            "line 1: its names begin in 9 ways (a0, a1,",
        ),
    ],
)
def test_a_wrong_file_is_told_by_its_line_and_what_is_accepted(text: str | bytes, message: str):
    with pytest.raises(MappingError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(MappingError, match="it cannot be read"):
        load(tmp_path / "missing.yaml")


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path):
    path = tmp_path / "mapping.yaml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(MappingError, match="it is larger than 1048576 bytes"):
        load(path)


@given(st.text(alphabet="version: 1\nattributes[]{}-&*!'\"#|>", max_size=200))
def test_any_text_is_a_mapping_or_a_mapping_error(text: str):
    with suppress(MappingError):
        assert parse(text).needles is not None


def test_the_example_is_a_mapping_and_means_what_its_page_says():
    mapping = load(ROOT / "examples" / "mapping" / "shop.yaml")
    assert mapping.rules
    assert mapping.renamed


class TestSettings:
    def test_both_conventions_are_on_and_no_mapping(self):
        inference = load_settings(CollectorSettings, {}).inference()
        assert inference.needles == (b"gen_ai.operation.name", b"openinference.span.kind")
        assert inference.renamed == {}

    @pytest.mark.parametrize(
        ("value", "needles"),
        [
            ("none", ()),
            ("gen_ai", (b"gen_ai.operation.name",)),
            (" openinference , gen_ai,gen_ai", (b"gen_ai.operation.name", b"openinference.span.kind")),
        ],
    )
    def test_conventions_are_switched_by_name(self, value: str, needles: tuple[bytes, ...]):
        assert load_settings(CollectorSettings, {"XRAY_INFER": value}).inference().needles == needles

    @pytest.mark.parametrize("value", ["genai", "none,gen_ai", "GEN_AI"])
    def test_an_unknown_convention_stops_the_start(self, value: str):
        with pytest.raises(SettingsError, match="gen_ai, openinference separated by commas, or none"):
            load_settings(CollectorSettings, {"XRAY_INFER": value})

    def test_a_mapping_is_read(self, tmp_path: Path):
        path = tmp_path / "mapping.yaml"
        path.write_text(dedent(SHOP), encoding="utf-8")
        inference = load_settings(CollectorSettings, {"XRAY_MAPPING": str(path)}).inference()
        assert inference.needles == (
            b"gen_ai.operation.name",
            b"openinference.span.kind",
            b"audit",
            b"ranker.",
            b"shop.",
        )

    def test_a_wrong_mapping_stops_the_start_with_variable_path_line_and_accepted_form(self, tmp_path: Path):
        path = tmp_path / "mapping.yaml"
        path.write_text("version: 1\nsteps:\n  - {type: sift, where: {a: 1}}\n", encoding="utf-8")
        with pytest.raises(SettingsError) as raised:
            load_settings(CollectorSettings, {"XRAY_MAPPING": str(path)})
        assert str(raised.value) == (
            f"XRAY_MAPPING={str(path)!r}: line 3: type 'sift' is not a step type (custom, filter, llm, rank, "
            "search, select); a YAML file in the form of docs/mapping.md is accepted"
        )
        assert raised.value.variable == "XRAY_MAPPING"
