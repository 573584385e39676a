"""
The rules of OTLP for servers, one test each, over real sockets; ``docs/otlp-conformance.md`` lists them.

What needs a collector with settings of its own (limits, a database that is away, CORS) stands in
``tests/collector/test_hostile_requests.py``.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import orjson
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tests.fixtures.otlp import decisions, event, identifier, logs, span, traces
from tests.fixtures.services import ServiceProcess

PROTOBUF, JSON = "application/x-protobuf", "application/json"
EXPORT_TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
DEADLINE_S = 30.0
RESPONSE_LIMIT_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def server(module_xray_up: ServiceProcess) -> ServiceProcess:
    """One server for all rules; each test has runs of its own."""
    return module_xray_up


@pytest.fixture(scope="module")
def http(server: ServiceProcess) -> Iterator[httpx.Client]:
    """A client of the OTLP/HTTP receiver."""
    with httpx.Client(base_url=server.otlp_http, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: ServiceProcess) -> Iterator[grpc.Channel]:
    """A channel to the OTLP/gRPC receiver."""
    with grpc.insecure_channel(server.otlp_grpc.removeprefix("http://")) as channel:
        yield channel


def step(run_id: str, **attributes: Any) -> dict[str, Any]:
    """The attributes of a step; names may have ``__`` for a dot."""
    given = {f"xray.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return {"xray.span.kind": "step", "xray.run.id": run_id, "xray.step.id": "s"} | given


def one_step(run_id: str, **attributes: Any) -> ExportTraceServiceRequest:
    """A request with one step."""
    return traces([span("a step", step(run_id, **attributes), trace=run_id)])


def post(http: httpx.Client, content: Any, content_type: str, path: str = "/v1/traces", **headers: str):
    """Send a body; header names may have ``_`` for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(path, content=content, headers={"Content-Type": content_type, **named})


def call(channel: grpc.Channel, body: bytes, method: str = EXPORT_TRACES, **options: Any) -> bytes:
    """Make an Export call with raw bytes."""
    answer: bytes = channel.unary_unary(method, None, None)(body, timeout=DEADLINE_S, **options)
    return answer


def json_step(run_id: str, *attributes: dict[str, Any], **span_fields: Any) -> dict[str, Any]:
    """An OTLP/JSON request with one step, as an object."""
    identity = [
        {"key": "xray.span.kind", "value": {"stringValue": "step"}},
        {"key": "xray.run.id", "value": {"stringValue": run_id}},
    ]
    sent = {
        "traceId": identifier(run_id, 16).hex(),
        "spanId": identifier(run_id, 8).hex(),
        "name": "a step",
        "startTimeUnixNano": "1780000000000000000",
        "endTimeUnixNano": "1780000000001000000",
        "attributes": [*identity, *attributes],
        **span_fields,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [sent]}]}]}


def stored_step(server: ServiceProcess, run_id: str) -> Any:
    """The only step of a run, as the query API shows it."""
    (found,) = server.get(f"/runs/{run_id}")["steps"]
    return found


# --- both transports ---------------------------------------------------------------------------------------


def test_none_and_gzip_are_accepted(http: httpx.Client, channel: grpc.Channel, server: ServiceProcess):
    """Plain and gzip requests are taken by both transports."""
    plain, packed, called, called_packed = (one_step(f"gzip-{n}").SerializeToString() for n in range(4))
    assert post(http, plain, PROTOBUF).status_code == 200
    assert post(http, gzip.compress(packed), PROTOBUF, content_encoding="gzip").status_code == 200
    call(channel, called)
    call(channel, called_packed, compression=grpc.Compression.Gzip)
    assert [stored_step(server, f"gzip-{n}")["name"] for n in range(4)] == ["a step"] * 4


def test_empty_envelopes_succeed(http: httpx.Client, channel: grpc.Channel):
    """Resources without scopes, and scopes without spans, are a full success."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add()
    request.resource_spans.add().scope_spans.add()
    assert post(http, request.SerializeToString(), PROTOBUF).content == b""
    assert call(channel, request.SerializeToString()) == b""
    assert post(http, b'{"resourceSpans":[{"scopeSpans":[{}]}]}', JSON).json() == {}


def test_full_success_leaves_partial_success_unset(http: httpx.Client, channel: grpc.Channel):
    """An empty partial success would make clients log a warning: the field is not there at all."""
    body = one_step("full-success").SerializeToString()
    for answered in (call(channel, body), post(http, body, PROTOBUF).content):
        assert not ExportTraceServiceResponse.FromString(answered).HasField("partial_success")
    assert post(http, orjson.dumps(json_step("full-success-json")), JSON).json() == {}


def test_partial_success_counts_spans_and_says_why(
    http: httpx.Client, channel: grpc.Channel, server: ServiceProcess
):
    """Refused spans are counted with an English reason; their neighbours are stored; the status is 200."""
    request = traces([span("kept", step("partial"), trace="partial"), span("bad", step("bad"), trace="bad")])
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = bytes(16)
    answer = post(http, request.SerializeToString(), PROTOBUF)
    assert answer.status_code == 200
    for answered in (answer.content, call(channel, request.SerializeToString())):
        partial = ExportTraceServiceResponse.FromString(answered).partial_success
        assert (partial.rejected_spans, "trace id" in partial.error_message) == (1, True)
    assert stored_step(server, "partial")["name"] == "kept"


def test_partial_success_counts_log_records(http: httpx.Client):
    """Refused events are counted by the logs signal's own field."""
    unreadable = {"xray.run.id": "r", "xray.step.id": "s", **decisions({"v": 1, "n": 0, "item": []})}
    unreadable["xray.decisions.data"] = "no JSON"
    body = logs([event("xray.step.decisions", unreadable, trace="t")]).SerializeToString()
    answer = post(http, body, PROTOBUF, "/v1/logs")
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_log_records) == (200, 1)
    assert partial.error_message


def test_a_warning_rejects_nothing(http: httpx.Client):
    """What the sender should know although all is well comes with zero rejected."""
    body = logs([event("xray.run.start", {"xray.run.id": "lost-way"}, trace="t")])
    answer = post(http, orjson.dumps({"resourceLogs": []}), JSON, "/v1/traces")
    assert answer.json()["partialSuccess"].keys() == {"errorMessage"}
    answer = post(http, body.SerializeToString(), PROTOBUF, "/v1/traces")
    assert answer.status_code == 200
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.error_message


def test_answers_stay_small(channel: grpc.Channel):
    """However many spans are refused, the answer stays below 4 MiB."""
    request = traces([span("x" * 100, step("many"), trace=str(n)) for n in range(5000)])
    for refused in request.resource_spans[0].scope_spans[0].spans:
        refused.span_id = b""
    answer = call(channel, request.SerializeToString())
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 5000
    assert len(answer) < RESPONSE_LIMIT_BYTES / 100


def test_duplicates_are_stored_once(channel: grpc.Channel, server: ServiceProcess):
    """A client that heard no answer sends again: the rows are there once, events too."""
    spans = one_step("twice", candidates__out=1).SerializeToString()
    identity = {"xray.run.id": "twice", "xray.step.id": "s"}
    columns = decisions({"v": 1, "n": 1, "item": ["a"], "verdict": "K"})
    events = logs([event("xray.step.decisions", identity | columns, trace="twice")]).SerializeToString()
    for _ in range(3):
        call(channel, spans)
        call(channel, events, EXPORT_LOGS)
    found = server.get(f"/runs/twice/steps/{stored_step(server, 'twice')['step_id']}/decisions")
    assert [decision["item_id"] for decision in found["items"]] == ["a"]


def test_unknown_fields_are_ignored(http: httpx.Client, server: ServiceProcess):
    """Fields of a later version of the protocol do no harm, in protobuf nor in JSON."""
    later = b"\xca\x3e\x03new"  # field 1001, three bytes
    request = one_step("later")
    inner = request.resource_spans[0].scope_spans[0].spans[0].SerializeToString() + later
    scope = b"\x12" + _varint(len(inner)) + inner + later
    resource = b"\x12" + _varint(len(scope)) + scope + later
    body = b"\x0a" + _varint(len(resource)) + resource + later
    assert post(http, body, PROTOBUF).content == b""
    sent = json_step("later-json", newField={"a": [1]}) | {"newField": 1}
    assert post(http, orjson.dumps(sent), JSON).json() == {}
    assert [stored_step(server, run)["name"] for run in ("later", "later-json")] == ["a step"] * 2


def test_every_kind_of_value_is_accepted(channel: grpc.Channel, server: ServiceProcess):
    """Attributes may hold any value since OTLP 1.9: empty, bytes, arrays and maps, nested."""
    request = one_step("any-value")
    nested = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(bytes_value=b"b"))]))
    for number, value in enumerate(
        [
            AnyValue(),
            AnyValue(bytes_value=b"\xff\x00"),
            nested,
            AnyValue(array_value=ArrayValue(values=[nested])),
        ]
    ):
        request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=f"shop.{number}").value.CopyFrom(
            value
        )
        request.resource_spans[0].resource.attributes.add(key=f"shop.{number}").value.CopyFrom(value)
    assert call(channel, request.SerializeToString()) == b""
    assert stored_step(server, "any-value")["flags"] == []


def test_the_last_of_repeated_keys_wins(http: httpx.Client, server: ServiceProcess):
    """Repeated keys are illegal and happen: the last one holds, in every encoding and delivery."""
    request = one_step("repeated", step__why="first")
    request.resource_spans[0].scope_spans[0].spans[0].attributes.add(
        key="xray.step.why"
    ).value.string_value = "last"
    post(http, request.SerializeToString(), PROTOBUF)
    first, last = ({"key": "xray.step.why", "value": {"stringValue": text}} for text in ("first", "last"))
    post(http, orjson.dumps(json_step("repeated-json", first, last)), JSON)
    assert [stored_step(server, run)["why"] for run in ("repeated", "repeated-json")] == ["last"] * 2


def test_foreign_spans_are_accepted(http: httpx.Client, server: ServiceProcess):
    """A span without a word of ours is no error: full success, and nothing is stored."""
    request = traces([span("GET /", {"http.request.method": "GET"}, trace="foreign")])
    assert post(http, request.SerializeToString(), PROTOBUF).content == b""
    trace_id = identifier("foreign", 16).hex()
    answer = httpx.get(f"{server.api}/api/v1/runs/{trace_id}", trust_env=False, timeout=DEADLINE_S)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [("trace_id", b""), ("trace_id", bytes(16)), ("trace_id", b"\1" * 24), ("span_id", b"\1" * 12)],
    ids=["no trace id", "zeroes", "hex read as base64", "hex read as base64, span"],
)
def test_invalid_ids_are_refused(channel: grpc.Channel, field: str, value: bytes):
    """Ids of a wrong length or of zeroes alone are refused span by span."""
    request = one_step("ids")
    setattr(request.resource_spans[0].scope_spans[0].spans[0], field, value)
    answer = ExportTraceServiceResponse.FromString(call(channel, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1


@pytest.mark.parametrize("flags", [0, 1, 256, 257, 768])
def test_span_flags_do_not_decide(channel: grpc.Channel, server: ServiceProcess, flags: int):
    """Senders disagree on the sampled bit of spans that they export: a span that came is stored."""
    request = one_step(f"flags-{flags}")
    request.resource_spans[0].scope_spans[0].spans[0].flags = flags
    assert call(channel, request.SerializeToString()) == b""
    assert stored_step(server, f"flags-{flags}")["name"] == "a step"


# --- gRPC --------------------------------------------------------------------------------------------------


def test_grpc_takes_more_than_4_mib(channel: grpc.Channel, server: ServiceProcess):
    """gRPC's own default of 4 MiB is below what OTLP recommends."""
    request = one_step("large")
    request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="shop.page").value.string_value = (
        "x" * 5_000_000
    )
    assert call(channel, request.SerializeToString()) == b""
    assert stored_step(server, "large")["name"] == "a step"


# --- HTTP --------------------------------------------------------------------------------------------------


def test_only_post(http: httpx.Client):
    """Other methods are answered with 405 and with what is allowed."""
    answer = http.get("/v1/traces")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("parameters", ["; charset=utf-8", ";charset=UTF-8", " ; v=1; q=2"])
def test_parameters_of_the_media_type_do_not_matter(http: httpx.Client, parameters: str):
    """The media type is what counts (RFC 9110, section 8.3.1)."""
    assert post(http, b"", PROTOBUF + parameters).status_code == 200
    assert post(http, b"{}", JSON + parameters).status_code == 200
    assert post(http, b"{}", JSON.upper() + parameters).status_code == 200


@pytest.mark.parametrize(("content_type", "broken"), [(PROTOBUF, b"\xff\xff"), (JSON, b"{")])
def test_the_answer_has_the_encoding_of_the_request(http: httpx.Client, content_type: str, broken: bytes):
    """Successes and failures are answered in the request's own media type."""
    assert post(http, b"", content_type).headers["content-type"].partition(";")[0] == content_type
    refused = post(http, broken, content_type)
    assert refused.status_code == 400
    assert refused.headers["content-type"].partition(";")[0] == content_type
    assert _status(refused).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert _status(refused).message


def test_the_metrics_signal_is_refused_politely(http: httpx.Client, channel: grpc.Channel):
    """404 and UNIMPLEMENTED, neither of which makes a client try again."""
    answer = post(http, b"", PROTOBUF, "/v1/metrics")
    assert (answer.status_code, "metrics" in _status(answer).message) == (404, True)
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, b"", EXPORT_TRACES.replace("trace", "metrics").replace("Trace", "Metrics"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_chunked_bodies_without_a_length(http: httpx.Client, server: ServiceProcess):
    """Node.js sends bodies in chunks and says no length."""
    body = one_step("chunked").SerializeToString()
    sent = (body[at : at + 7] for at in range(0, len(body), 7))
    assert post(http, sent, PROTOBUF).status_code == 200
    assert stored_step(server, "chunked")["name"] == "a step"


# --- JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["lower", "upper"])
def test_json_ids_are_hex(http: httpx.Client, server: ServiceProcess, case: str):
    """Ids are hex of either case, not base64 as protobuf's own JSON mapping has it."""
    run_id = f"hex-{case}"
    trace_id = identifier(run_id, 16).hex()
    sent = json_step(run_id, traceId=trace_id.upper() if case == "upper" else trace_id)
    assert post(http, orjson.dumps(sent), JSON).json() == {}
    assert server.get(f"/runs/{run_id}")["trace_ids"] == [trace_id]


def test_json_numbers_in_every_form(http: httpx.Client, server: ServiceProcess):
    """64-bit integers come as text or number, doubles as integers, and not-a-number as a text."""
    sent = json_step(
        "numbers",
        {"key": "xray.candidates.in", "value": {"intValue": "200"}},
        {"key": "xray.candidates.out", "value": {"intValue": 19}},
        {"key": "xray.metric.recall", "value": {"intValue": 1}},
        {"key": "xray.metric.lift", "value": {"doubleValue": "NaN"}},
        startTimeUnixNano=1780000000000000000,
    )
    assert post(http, orjson.dumps(sent), JSON).json() == {}
    found = stored_step(server, "numbers")
    assert (found["candidates_in"], found["candidates_out"], found["metrics"]) == (200, 19, {"recall": 1.0})
    assert [(flag["code"], flag["field"]) for flag in found["flags"]] == [("not_finite", "xray.metric.lift")]
    assert found["duration_ms"] == 1.0


def test_json_defaults_may_be_missing(http: httpx.Client, server: ServiceProcess):
    """Senders leave out what is default: kind, an empty status, an empty value, no resource."""
    sent = json_step("omitted", {"key": "shop.nothing", "value": {}}, status={})
    assert post(http, orjson.dumps(sent), JSON).json() == {}
    assert stored_step(server, "omitted")["status"] == "ok"


def test_json_enums_are_integers(http: httpx.Client, server: ServiceProcess):
    """The status code 2 is an error; a name is none of OTLP/JSON's forms and counts as unset."""
    for run_id, code in (("enum-2", 2), ("enum-name", "STATUS_CODE_ERROR")):
        sent = json_step(run_id, kind=1, status={"code": code})
        assert post(http, orjson.dumps(sent), JSON).json() == {}
    assert [stored_step(server, run)["status"] for run in ("enum-2", "enum-name")] == ["error", "ok"]


def test_json_names_in_snake_case_are_unknown(http: httpx.Client):
    """Only lowerCamelCase is OTLP/JSON; other names are unknown fields, and the sender is warned."""
    answer = post(http, b'{"resource_spans": []}', JSON)
    assert (answer.status_code, "errorMessage" in answer.json()["partialSuccess"]) == (200, True)


def test_json_nesting_costs_one_value(http: httpx.Client, server: ServiceProcess):
    """A value nested beyond the limit is lost and flagged; its span and its batch are not."""
    value: dict[str, Any] = {"stringValue": "deep"}
    for _ in range(80):
        value = {"arrayValue": {"values": [value]}}
    sent = json_step("nested", {"key": "xray.step.input", "value": value})
    assert post(http, orjson.dumps(sent), JSON).json() == {}
    assert [flag["code"] for flag in stored_step(server, "nested")["flags"]] == ["wrong_type"]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _status(answer: httpx.Response) -> Any:
    if answer.headers["content-type"].startswith(JSON):
        sent = answer.json()
        return Status(code=sent["code"], message=sent["message"])
    return Status.FromString(answer.content)
