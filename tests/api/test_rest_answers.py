"""The answers of the API over a real socket: keys, values, filters, pages, OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # no stubs in the lock

from store.rows import Artifact, Flag
from store.schemas import schema_version
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

RUN_KEYS = """
    run_id pipeline pipeline_version entity status started_at ended_at duration_ms outcome outcome_reason
    tags input output service_name environment trace_ids schema candidates_in candidates_out drop_ratio
    steps_count flags completeness
"""
STEP_KEYS = """
    run_id step_id attempt index name step_type step_type_original pipeline status started_at ended_at
    duration_ms candidates_in candidates_out drop_ratio counts reasons score why metrics fields input output
    reasoning model temperature top_k parents capture_level decisions_recorded inferred artifacts flags
    completeness
"""
DECISION_KEYS = "item_id verdict reason reason_text score value threshold checks probability attempt"
# What the record has beyond the contract's lists; anything else is a slip.
MORE_RUN_KEYS = {"error_type", "error_message", "outcomes"}
MORE_STEP_KEYS = {
    "selected_id",
    "sources",
    "config_fingerprint",
    "error_type",
    "error_message",
    "trace_id",
    "span_id",
}
MORE_DECISION_KEYS = {"value_missing"}
IDS = {
    "run_id": "r",
    "other_run_id": "r",
    "item_id": "x",
    "artifact_id": "0" * 64,
    "schema_id": "s",
    "pipeline": "shop",
}
"""What of ``told`` stands in paths."""
ASKED = {
    "item": "x",
    "over": "z",
    "step": "best",
    "bad": 'entity = "P1"',
    "good": 'entity != "P1"',
    "until": "2025-03-02T12:00:00Z",
}
"""Parameters that take no value of their schema's type, or cannot be left out."""


@pytest.fixture
def told(shelf: Shelf) -> Shelf:
    """One run of two steps with decisions, an artifact and a flag."""
    shelf.put(
        run_copy(
            "r",
            pipeline="shop",
            pipeline_version="v1",
            entity="P1",
            tags={"market": "US"},
            schema_id="s",
            schema_version="2",
            output={"chosen": "x"},
        ),
        step_copy(
            "r",
            "by price/1",
            candidates_in=4,
            candidates_out=1,
            kept=1,
            eliminated=3,
            reason_codes=("too_dear", "never"),
            reason_counts=(3, 0),
            metrics={"recall": 0.9},
            capture_level="full",
            decisions_recorded=4,
            decisions_chunks=1,
            flags=(Flag("coerced", "top_k", "3"),),
        ),
        step_copy("r", "best", 1, step_type="select", candidates_in=1, candidates_out=1, selected_id="x"),
        chunk(
            "r",
            "by price/1",
            ["x", "https://shop/y?a=1", "z", "w"],
            "KEEE",
            reasons=["too_dear"],
            reason=[None, 0, 0, 0],
            score=[0.9, 0.5, None, 0.1],
            value=[10, 99.5, "n/a", True],
            threshold=50,
        ),
        Artifact("r", "best", "1", "page", "text/html", 8, b"\x01" * 32, b"<script>", name='a"b ü.html'),
        Artifact("r", "best", "1", "odd", "text/html\r\nX: y", 1, b"\x02" * 32, b"x"),
        schema_version("s", "2", {"steps": {"best": {"type": "select"}}}),
    )
    return shelf


def test_keys_of_the_contract(told: Shelf, rest: httpx.Client) -> None:
    """Run, Step and Decision have the contract's keys, and the few more that are listed here."""
    run = rest.get("/api/v1/runs/r").json()
    assert set(run) == set(RUN_KEYS.split()) | MORE_RUN_KEYS | {"steps"}
    assert set(rest.get("/api/v1/runs").json()["items"][0]) == set(RUN_KEYS.split()) | MORE_RUN_KEYS
    assert set(run["steps"][0]) == set(STEP_KEYS.split()) | MORE_STEP_KEYS
    decisions = rest.get("/api/v1/runs/r/steps/by%20price%2F1/decisions").json()
    assert set(decisions["items"][0]) == set(DECISION_KEYS.split()) | MORE_DECISION_KEYS
    for path in ("runs", "steps", "runs/r/steps", "metrics/reasons"):
        assert set(rest.get(f"/api/v1/{path}").json()) == {"items", "next_cursor", "completeness"}
    metrics = rest.get("/api/v1/metrics/steps").json()
    assert set(metrics) == {"items", "next_cursor", "completeness", "resolution"}


def test_a_run_with_its_steps(told: Shelf, rest: httpx.Client) -> None:
    """A run shows what was sent and what follows from its steps."""
    run = rest.get("/api/v1/runs/r").json()
    assert run["started_at"] == "2025-03-01T12:00:00Z"
    assert (run["status"], run["duration_ms"], run["tags"]) == ("completed", 1000.0, {"market": "US"})
    assert run["schema"] == {"id": "s", "version": "2"}
    assert (run["candidates_in"], run["candidates_out"], run["drop_ratio"]) == (4, 1, 0.75)
    assert run["output"] == {"chosen": "x"}
    assert run["completeness"] == {"state": "complete", "evidence": "partial", "missing": []}
    first, second = run["steps"]
    assert (first["step_id"], first["index"], second["index"]) == ("by price/1", 0, 1)
    assert first["counts"]["eliminated"] == 3
    assert first["reasons"] == {"too_dear": 3, "never": 0}
    assert first["metrics"] == {"recall": 0.9}
    assert {"code": "coerced", "field": "top_k", "sent": "3"} in first["flags"]
    assert first["completeness"] == {
        "metrics": "exact",
        "evidence": "full",
        "decisions_recorded": 4,
        "decisions_stored": 4,
        "missing": [],
    }


def test_decisions_of_a_step(told: Shelf, rest: httpx.Client) -> None:
    """Decisions are filtered by verdict, reason, item, attempt and numbers; values keep their type."""
    path = "/api/v1/runs/r/steps/by%20price%2F1/decisions"
    everything = rest.get(path).json()["items"]
    assert [d["value"] for d in everything] == [10, 99.5, "n/a", True]
    assert [d["threshold"] for d in everything] == [50] * 4

    def asked(**query: Any) -> list[str]:
        return [d["item_id"][0] for d in rest.get(path, params=query).json()["items"]]

    assert asked(verdict="kept") == ["x"]
    assert asked(reason="too_dear") == ["h", "z", "w"]
    assert asked(item_id="https://shop/y?a=1") == ["h"]
    assert asked(score_gte=0.5) == ["x", "h"]
    assert asked(value_gt=1) == ["x", "h"]
    assert asked(attempt=1, verdict="eliminated", score_lt=0.5) == ["w"]
    assert asked(attempt=2) == []


def test_journey_of_an_item_that_is_a_url(told: Shelf, rest: httpx.Client) -> None:
    """Item ids may hold slashes and question marks."""
    journey = rest.get("/api/v1/runs/r/items/https%3A%2F%2Fshop%2Fy%3Fa%3D1").json()
    assert journey["item_id"] == "https://shop/y?a=1"
    assert (journey["final_verdict"], journey["final_step_id"]) == ("eliminated", "by price/1")
    assert [step["presence"] for step in journey["steps"]] == ["recorded", "unknown"]


def test_artifacts_never_run_as_pages(told: Shelf, rest: httpx.Client) -> None:
    """Bytes come back as they were sent, as a download, under a type that cannot inject headers."""
    odd, page = rest.get("/api/v1/runs/r").json()["steps"][1]["artifacts"]
    response = rest.get(f"/api/v1/artifacts/{page['artifact_id']}")
    assert response.content == b"<script>"
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22b%20%C3%BC.html"
    assert "sandbox" in response.headers["content-security-policy"]
    response = rest.get(f"/api/v1/artifacts/{odd['artifact_id']}")
    assert response.headers["content-type"] == "application/octet-stream"
    assert "x" not in response.headers


def test_no_type_of_a_sender_ends_the_head_of_an_answer(shelf: Shelf, rest: httpx.Client) -> None:
    """A line break where a type may have a space is no type; the bytes are given all the same."""
    for number, sent_type in enumerate(
        ("text/html\r\n\r\n;<script>", "text/html\n; a=b", "text/html; a=\x0b")
    ):
        shelf.put(Artifact("r", "s", "1", "page", sent_type, 1, bytes([number]) * 32, b"x"))
    shelf.put(step_copy("r", "s"))
    (step,) = rest.get("/api/v1/runs/r").json()["steps"]
    assert len(step["artifacts"]) == 3
    for artifact in step["artifacts"]:
        response = rest.get(f"/api/v1/artifacts/{artifact['artifact_id']}")
        assert (response.status_code, response.content) == (200, b"x")
        assert response.headers["content-type"] == "application/octet-stream"
        assert "sandbox" in response.headers["content-security-policy"]


def test_metrics_are_grouped(told: Shelf, rest: httpx.Client) -> None:
    """An item holds the columns it was grouped by and its bucket, and no others."""
    (item,) = rest.get("/api/v1/metrics/steps?group_by=pipeline,name&bucket=1h&step_type=filter").json()[
        "items"
    ]
    assert (item["pipeline"], item["name"], item["bucket_start"]) == (
        "shop",
        "by price/1",
        "2025-03-01T12:00:00Z",
    )
    assert "step_type" not in item
    assert (item["steps"], item["errors"], item["candidates_in"], item["drop_ratio"]["p50"]) == (
        1,
        0,
        4,
        0.75,
    )
    reasons = rest.get("/api/v1/metrics/reasons?group_by=step_type").json()["items"]
    assert reasons == [
        {"step_type": "filter", "reason": "too_dear", "count": 3, "share": 1.0},
        {"step_type": "filter", "reason": "never", "count": 0, "share": 0.0},
    ]
    assert rest.get("/api/v1/metrics/steps?pipeline=none").json()["items"] == []


def test_a_filter_that_eliminated_more_than_90_percent(shelf: Shelf, rest: httpx.Client) -> None:
    """
    Over three pipelines of different steps, the question finds exactly the runs in which one step is both
    a filter and eliminated more than 90 %, and exactly those steps.
    """
    cases: dict[str, tuple[str, list[tuple[str, int | None, int]], bool]] = {
        # name: (pipeline, steps as (type, in, out)), and whether it counts
        "deep-filter": ("competitor-selection", [("search", None, 5000), ("filter", 5000, 30)], True),
        "exactly-90": ("competitor-selection", [("filter", 100, 10)], False),
        "just-above": ("listing-optimisation", [("llm", None, 8), ("filter", 1000, 99)], True),
        "other-step-drops": ("listing-optimisation", [("filter", 100, 50), ("rank", 50, 1)], False),
        "no-filter": ("categorisation", [("rank", 100, 1), ("select", 1000, 1)], False),
        "nothing-in": ("categorisation", [("filter", 0, 0)], False),
        "all-gone": ("categorisation", [("filter", 7, 0), ("filter", 10, 9)], True),
    }
    for number, (run_id, (pipeline, steps, _)) in enumerate(cases.items()):
        shelf.put(run_copy(run_id, number, pipeline=pipeline))
        for i, (step_type, entering, leaving) in enumerate(steps):
            shelf.put(
                step_copy(
                    run_id,
                    f"s{i}",
                    number + i / 10,
                    step_type=step_type,
                    candidates_in=entering,
                    candidates_out=leaving,
                )
            )
    runs = rest.get("/api/v1/runs?step.step_type=filter&step.drop_ratio_gt=0.9").json()["items"]
    assert [run["run_id"] for run in runs] == ["all-gone", "just-above", "deep-filter"]
    steps = rest.get("/api/v1/steps?step_type=filter&drop_ratio_gt=0.9").json()["items"]
    assert [(step["run_id"], step["step_id"]) for step in steps] == [
        ("all-gone", "s0"),
        ("just-above", "s1"),
        ("deep-filter", "s1"),
    ]


def test_the_filter_language(told: Shelf, rest: httpx.Client) -> None:
    """q selects on runs, steps and metrics, beside parameters; a refusal has the column of the place."""

    def asked(path: str, q: str, **parameters: str) -> list[Any]:
        response = rest.get(f"/api/v1/{path}", params={"q": q, **parameters})
        assert response.status_code == 200, response.text
        return list(response.json()["items"])

    dropped = 'type = "filter" and metric.recall >= 0.9 and tag.market = "US"'
    assert [step["step_id"] for step in asked("steps", dropped)] == ["by price/1"]
    assert asked("steps", dropped, status="error") == []
    assert [run["run_id"] for run in asked("runs", 'step.type = "filter" and step.drop_ratio > 0.7')] == ["r"]
    assert asked("runs", 'step.type = "select" and step.drop_ratio > 0.7') == []
    assert [group["steps"] for group in asked("metrics/steps", "not drop_ratio > 0.7")] == [1]
    assert [row["reason"] for row in asked("metrics/reasons", "reason.never = 0", limit="1")] == ["too_dear"]
    for path in ("runs", "steps", "metrics/steps", "metrics/reasons", "export/runs"):
        refused = rest.get(f"/api/v1/{path}", params={"q": "started > 3"})
        error = refused.json()["error"]
        assert (refused.status_code, error["parameter"], error["column"]) == (422, "q", 11)
        assert "RFC 3339" in error["message"]


def test_figures_about_the_decisions_of_a_step(told: Shelf, rest: httpx.Client) -> None:
    """Counts, totals and means of those that satisfy the filters, with intervals; there are no pages."""
    path = "/api/v1/runs/r/steps/by%20price%2F1/estimates"
    everything = rest.get(path).json()
    assert everything["decisions"] == {"value": 4, "low": 4, "high": 4, "exact": True}
    assert set(everything) == {"decisions", "score", "value", "decisions_read", "completeness"}
    assert set(everything["value"]) == {"number", "total", "mean"}
    assert rest.get(path, params={"verdict": "kept"}).json()["decisions_read"] == 1
    refused = rest.get(path, params={"limit": 5})
    assert (refused.status_code, refused.json()["error"]["parameter"]) == (422, "limit")
    assert rest.get("/api/v1/runs/r/steps/unheard/estimates").status_code == 404


def test_pages_follow_their_cursor(shelf: Shelf, rest: httpx.Client) -> None:
    """next_cursor leads through a list, also through a URL."""
    shelf.put(*(run_copy(f"r{i}", i) for i in range(5)))
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = rest.get("/api/v1/runs", params=query).json()
        seen += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["r4", "r3", "r2", "r1", "r0"]


def test_alive_and_ready(rest: httpx.Client) -> None:
    """Both answers stand without prefix."""
    assert rest.get("/healthz").json() == {"status": "ok"}
    assert rest.get("/readyz").json() == {"status": "ready"}


def _operations(openapi: dict[str, Any], *methods: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, by_method in openapi["paths"].items():
        for method, operation in by_method.items():
            if method in methods:
                yield path, operation


def test_openapi_holds_together(rest: httpx.Client) -> None:
    """Every reference resolves, every path parameter is declared, no parameter stands twice."""
    openapi = rest.get("/openapi.json").json()
    assert openapi["openapi"].startswith("3.1")
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', str(openapi).replace("'", '"')):
        Draft202012Validator.check_schema(openapi["components"]["schemas"][reference])
    for path, operation in _operations(openapi, "get", "post"):
        names = [(parameter["in"], parameter["name"]) for parameter in operation.get("parameters", ())]
        assert len(set(names)) == len(names), path
        assert {name for place, name in names if place == "path"} == set(re.findall(r"\{(\w+)\}", path))
        assert operation["summary"] or operation["description"]
        assert all("description" in p or p["in"] == "path" for p in operation.get("parameters", ()))


def _sample(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return str(schema["enum"][0])
    if "examples" in schema:
        return str(schema["examples"][0])
    if schema["type"] == "array":
        return str(schema["items"]["enum"][0])
    if schema.get("format") == "date-time":
        return "2025-03-01T12:00:00Z"
    if "pattern" in schema:
        return str(schema["default"])
    type_ = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    return {"boolean": "true", "number": "0.5", "integer": "1", "string": "x"}[type_]


def _needed(parameters: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What a request cannot be put without."""
    return {
        parameter["name"]: ASKED.get(parameter["name"]) or _sample(parameter["schema"])
        for parameter in parameters
        if parameter["in"] == "query" and parameter.get("required")
    }


def test_every_documented_parameter_is_accepted(told: Shelf, rest: httpx.Client) -> None:
    """What OpenAPI lists, the server takes; families are documented by the pattern of their names."""
    ids = IDS | {"step_id": "best"}
    asked = 0
    for path, operation in _operations(rest.get("/openapi.json").json(), "get"):
        if path in ("/api/v1/export/runs", "/api/v1/export/steps"):
            continue  # those of /runs and /steps, and the format of /export/decisions
        url = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
        parameters = operation.get("parameters", ())
        needed = _needed(parameters)
        for parameter in parameters:
            schema, name = parameter["schema"], parameter["name"]
            if parameter["in"] != "query" or name == "cursor":
                continue
            if schema["type"] == "object":
                written = re.search(r"Written as (\S+?)=", parameter["description"])
                assert written is not None
                (pattern,) = schema["patternProperties"]
                assert re.search(pattern, written[1])
                name, schema = written[1], schema["patternProperties"][pattern]
            response = rest.get(url, params={**needed, name: ASKED.get(name) or _sample(schema)})
            assert response.status_code == 200, (url, name, response.text)
            asked += 1
    assert asked > 300


def test_answers_are_what_openapi_says(told: Shelf, rest: httpx.Client) -> None:
    """The answers validate against the schemas they are documented with."""
    openapi = rest.get("/openapi.json").json()
    ids = IDS | {"step_id": "by%20price%2F1"}
    for path, operation in _operations(openapi, "get"):
        if "artifacts" in path or "/export/" in path:
            continue  # files, not JSON
        needed = _needed(operation.get("parameters", ()))
        response = rest.get(re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path), params=needed)
        assert response.status_code == 200, (path, response.text)
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        validator = Draft202012Validator({**schema, "components": openapi["components"]})
        assert not list(validator.iter_errors(response.json())), path
