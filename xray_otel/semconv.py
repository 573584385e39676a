"""
The names of X-Ray on the wire: attributes, events and vocabularies.

Generated from ``semconv/registry`` by ``python -m semconv.generate``; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SCHEMA_URL: Final = "https://xray.example/schemas/0.1.0"
"""Version of these conventions, set as schema URL of the client's scope."""

# Identity

SPAN_KIND: Final = "xray.span.kind"
"""What the span is to X-Ray. (string; set by X-Ray's client)"""
RUN_ID: Final = "xray.run.id"
"""
The run that the span or event belongs to; 1 to 128 characters of A-Z, a-z, 0-9, `_` and `-`.
(string; set by X-Ray's client)
"""
PIPELINE_NAME: Final = "xray.pipeline.name"
"""The pipeline, the same in all of its runs. (string; set by X-Ray's client or any OpenTelemetry SDK)"""
PIPELINE_VERSION: Final = "xray.pipeline.version"
"""
The version of the pipeline's code, rules or model, as its team names it. (string; set by X-Ray's
client or any OpenTelemetry SDK)
"""
STEP_ID: Final = "xray.step.id"
"""The step, unique in its run; the span id in hex when missing. (string; set by X-Ray's client)"""
STEP_ATTEMPT: Final = "xray.step.attempt"
"""
Which attempt at the step this is, counted from 1; attempts are separate rows. (int; set by X-Ray's
client)
"""
STEP_INDEX: Final = "xray.step.index"
"""The position of the step in its run, counted from 0. (int; set by X-Ray's client)"""

# Run

RUN_ENTITY: Final = "xray.run.entity"
"""
What the run is about, as the team identifies it. (string; set by the pipeline, through X-Ray's
client or by itself)
"""
RUN_TAG_PREFIX: Final = "xray.run.tag."
"""
A label of the run to group and filter by. (template[string]; set by the pipeline, through X-Ray's
client or by itself)
"""
RUN_INPUT: Final = "xray.run.input"
"""
What the run was given, as JSON text of at most 16 KiB. (string; set by the pipeline, through
X-Ray's client or by itself)
"""
RUN_OUTPUT: Final = "xray.run.output"
"""
What the run returned, as JSON text of at most 16 KiB. (string; set by the pipeline, through X-Ray's
client or by itself)
"""
RUN_OUTCOME: Final = "xray.run.outcome"
"""
A short word of the team's own for how the run ended. (string; set by the pipeline, through X-Ray's
client or by itself)
"""
RUN_OUTCOME_REASON: Final = "xray.run.outcome_reason"
"""
Why the run had this outcome, in words. (string; set by the pipeline, through X-Ray's client or by
itself)
"""
RUN_STATUS: Final = "xray.run.status"
"""How the run ended; overrides the status of its span. (string; set by X-Ray's client)"""
RUN_FINAL: Final = "xray.run.final"
"""
A run ends this way once, as a step engine's does. Of several final ends the first holds, before any
other. (boolean; set by X-Ray's client)
"""
RUN_ERROR_MESSAGE: Final = "xray.run.error_message"
"""
Message of the run's error; only on the `xray.run.end` event, a span has its status message.
(string; set by X-Ray's client)
"""
RUN_TIMEOUT_S: Final = "xray.run.timeout_s"
"""
Seconds of silence after which the run counts as incomplete; the server's setting when missing.
(double; set by the pipeline, through X-Ray's client or by itself)
"""
RUN_WAIT_UNTIL_UNIX_NANO: Final = "xray.run.wait.until_unix_nano"
"""
When the waiting run expects to go on, in nanoseconds since the Unix epoch; missing when unknown.
(int; set by the pipeline, through X-Ray's client or by itself)
"""
SCHEMA_ID: Final = "xray.schema.id"
"""
The schema that the pipeline's steps promise to follow. (string; set by the pipeline, through
X-Ray's client or by itself)
"""
SCHEMA_VERSION: Final = "xray.schema.version"
"""The version of that schema. (string; set by the pipeline, through X-Ray's client or by itself)"""
SCHEMA_DOCUMENT: Final = "xray.schema.document"
"""The schema itself, as JSON text of at most 64 KiB. (string; set by X-Ray's client)"""
SCHEMA_VIOLATIONS: Final = "xray.schema.violations"
"""
Where the step or run breaks its schema, as `<field>: <how>`; each becomes a flag. (string[]; set by
X-Ray's client)
"""
OUTCOME_NAME: Final = "xray.outcome.name"
"""
What a late label says something about. (string; set by the pipeline, through X-Ray's client or by
itself)
"""
OUTCOME_VALUE: Final = "xray.outcome.value"
"""
The label's value, a boolean, number or short string. Required unless the label is withdrawn. (any;
set by the pipeline, through X-Ray's client or by itself)
"""
OUTCOME_SOURCE: Final = "xray.outcome.source"
"""Who gave the label. (string; set by the pipeline, through X-Ray's client or by itself)"""
OUTCOME_ITEM_ID: Final = "xray.outcome.item_id"
"""
The item that the label is about; the whole run when missing. (string; set by the pipeline, through
X-Ray's client or by itself)
"""
OUTCOME_WITHDRAWN: Final = "xray.outcome.withdrawn"
"""
The label is taken back; its value does not matter then. (boolean; set by the pipeline, through
X-Ray's client or by itself)
"""

# Step

STEP_TYPE: Final = "xray.step.type"
"""What kind of work the step does. (string; set by X-Ray's client or any OpenTelemetry SDK)"""
STEP_NAME: Final = "xray.step.name"
"""The step's name, the same in all runs; the span's name when missing. (string; set by X-Ray's client)"""
STEP_WHY: Final = "xray.step.why"
"""
Why the step did what it did, in words, at most 2 KiB. (string; set by the pipeline, through X-Ray's
client or by itself)
"""
STEP_INPUT: Final = "xray.step.input"
"""
What the step was given, as JSON text of at most 16 KiB. (string; set by the pipeline, through
X-Ray's client or by itself)
"""
STEP_OUTPUT: Final = "xray.step.output"
"""
What the step returned, as JSON text of at most 16 KiB. (string; set by the pipeline, through
X-Ray's client or by itself)
"""
STEP_REASONING: Final = "xray.step.reasoning"
"""
The rules or parameters that the step applied, as JSON text of at most 16 KiB. (string; set by the
pipeline, through X-Ray's client or by itself)
"""
STEP_PARENTS: Final = "xray.step.parents"
"""
Ids of the steps whose output this step took, for branches and joins; the step before when missing.
(string[]; set by the pipeline, through X-Ray's client or by itself)
"""
STEP_TOP_K: Final = "xray.step.top_k"
"""
How many candidates the step was asked for. (int; set by the pipeline, through X-Ray's client or by
itself)
"""
STEP_STATUS: Final = "xray.step.status"
"""
How the step ended; only on the `xray.step` event, a span has its own status. (string; set by
X-Ray's client)
"""
STEP_START_UNIX_NANO: Final = "xray.step.start_unix_nano"
"""
Start of the step, in nanoseconds since the Unix epoch; only on the `xray.step` event. (int; set by
X-Ray's client)
"""
STEP_END_UNIX_NANO: Final = "xray.step.end_unix_nano"
"""
End of the step, in nanoseconds since the Unix epoch; only on the `xray.step` event, whose Timestamp
it is when missing. (int; set by X-Ray's client)
"""
STEP_ERROR_MESSAGE: Final = "xray.step.error_message"
"""
Message of the step's error; only on the `xray.step` event, a span has its status message. (string;
set by X-Ray's client)
"""
CANDIDATES_IN: Final = "xray.candidates.in"
"""
Candidates that came into the step; missing, not 0, on a source. (int; set by X-Ray's client or any
OpenTelemetry SDK)
"""
CANDIDATES_OUT: Final = "xray.candidates.out"
"""
Candidates that go on (kept, selected and scored). (int; set by X-Ray's client or any OpenTelemetry
SDK)
"""
CANDIDATES_KEPT: Final = "xray.candidates.kept"
"""Candidates that the step let through. (int; set by X-Ray's client)"""
CANDIDATES_ELIMINATED: Final = "xray.candidates.eliminated"
"""Candidates that the step removed. (int; set by X-Ray's client)"""
CANDIDATES_SCORED: Final = "xray.candidates.scored"
"""Candidates that got a score and go on, without a verdict of their own. (int; set by X-Ray's client)"""
CANDIDATES_SELECTED: Final = "xray.candidates.selected"
"""Candidates that were chosen. (int; set by X-Ray's client)"""
CANDIDATES_NOT_SELECTED: Final = "xray.candidates.not_selected"
"""Candidates that lost against the chosen ones. (int; set by X-Ray's client)"""
CANDIDATES_DEFERRED: Final = "xray.candidates.deferred"
"""Candidates whose verdict was put off. (int; set by X-Ray's client)"""
CANDIDATES_MERGED: Final = "xray.candidates.merged"
"""Candidates that became part of another one. (int; set by X-Ray's client)"""
REASONS_CODES: Final = "xray.reasons.codes"
"""
Reason codes of the step; one that it can give and did not give is listed with 0. (string[]; set by
X-Ray's client)
"""
REASONS_COUNTS: Final = "xray.reasons.counts"
"""
Exact number of candidates per reason, parallel to `xray.reasons.codes`. (int[]; set by X-Ray's
client)
"""
SCORE_MIN: Final = "xray.score.min"
"""Smallest score. (double; set by X-Ray's client)"""
SCORE_MAX: Final = "xray.score.max"
"""Largest score. (double; set by X-Ray's client)"""
SCORE_MEAN: Final = "xray.score.mean"
"""Mean score. (double; set by X-Ray's client)"""
SCORE_STD: Final = "xray.score.std"
"""Standard deviation of the scores (population). (double; set by X-Ray's client)"""
SCORE_P10: Final = "xray.score.p10"
"""10th percentile of the scores, by linear interpolation. (double; set by X-Ray's client)"""
SCORE_P50: Final = "xray.score.p50"
"""Median score. (double; set by X-Ray's client)"""
SCORE_P90: Final = "xray.score.p90"
"""90th percentile of the scores, by linear interpolation. (double; set by X-Ray's client)"""
SELECTED_ID: Final = "xray.selected.id"
"""The item that was chosen, when it is one. (string; set by X-Ray's client)"""
METRIC_PREFIX: Final = "xray.metric."
"""
A number of the team's own about the step. (template[double]; set by the pipeline, through X-Ray's
client or by itself)
"""
CONFIG_FINGERPRINT: Final = "xray.config.fingerprint"
"""
Version or hash of the rules or configuration that the step applied. (string; set by the pipeline,
through X-Ray's client or by itself)
"""
FIELDS_NAMES: Final = "xray.fields.names"
"""
Fields of the items whose statistics the parallel arrays hold, as the items leave the step.
(string[]; set by X-Ray's client)
"""
FIELDS_MISSING: Final = "xray.fields.missing"
"""
Share of items that lack the field, 0 to 1, parallel to `xray.fields.names`. (double[]; set by
X-Ray's client)
"""
FIELDS_MEAN: Final = "xray.fields.mean"
"""
Mean of the numeric values, NaN when there is none, parallel to `xray.fields.names`. (double[]; set
by X-Ray's client)
"""
FIELDS_STD: Final = "xray.fields.std"
"""
Standard deviation of the numeric values, NaN when there is none, parallel to `xray.fields.names`.
(double[]; set by X-Ray's client)
"""
FIELDS_P50: Final = "xray.fields.p50"
"""
Median of the numeric values, NaN when there is none, parallel to `xray.fields.names`. (double[];
set by X-Ray's client)
"""
SOURCES_NAMES: Final = "xray.sources.names"
"""
Shards, indexes or suppliers that a search step asked. (string[]; set by the pipeline, through
X-Ray's client or by itself)
"""
SOURCES_COUNTS: Final = "xray.sources.counts"
"""
Items that each source gave, parallel to `xray.sources.names`. (int[]; set by the pipeline, through
X-Ray's client or by itself)
"""

# Evidence

CAPTURE_LEVEL: Final = "xray.capture.level"
"""How much evidence the client recorded. (string; set by X-Ray's client)"""
DECISIONS_RECORDED: Final = "xray.decisions.recorded"
"""
Decisions that the client put into chunks; smaller than the number judged when sampled. (int; set by
X-Ray's client)
"""
DECISIONS_CHUNKS: Final = "xray.decisions.chunks"
"""
Chunks that the client made, so that the server can tell complete from partly lost. (int; set by
X-Ray's client)
"""
DECISIONS_DATA: Final = "xray.decisions.data"
"""
One chunk of decisions, as versioned columnar JSON of at most 256 KiB. (string; set by X-Ray's
client)
"""
DECISIONS_ITEMS: Final = "xray.decisions.items"
"""
Ids of the candidates, on the span itself, for senders that cannot send events. (string[]; set by
the pipeline, through X-Ray's client or by itself)
"""
DECISIONS_VERDICTS: Final = "xray.decisions.verdicts"
"""
Verdict per candidate, as word or letter; or one text of letters. (string[]; set by the pipeline,
through X-Ray's client or by itself)
"""
DECISIONS_REASONS: Final = "xray.decisions.reasons"
"""Reason code per candidate. (string[]; set by the pipeline, through X-Ray's client or by itself)"""
DECISIONS_SCORES: Final = "xray.decisions.scores"
"""Score per candidate. (double[]; set by the pipeline, through X-Ray's client or by itself)"""
DECISIONS_VALUES: Final = "xray.decisions.values"
"""
What the rule observed, per candidate; texts are taken too. (double[]; set by the pipeline, through
X-Ray's client or by itself)
"""
DECISIONS_THRESHOLDS: Final = "xray.decisions.thresholds"
"""
The limit that the value was compared with, per candidate; texts are taken too. (double[]; set by
the pipeline, through X-Ray's client or by itself)
"""
DECISION_ITEM_ID: Final = "xray.decision.item_id"
"""
The candidate of a span event `xray.decision`. (string; set by the pipeline, through X-Ray's client
or by itself)
"""
DECISION_VERDICT: Final = "xray.decision.verdict"
"""Its verdict, as word or letter. (string; set by the pipeline, through X-Ray's client or by itself)"""
DECISION_REASON: Final = "xray.decision.reason"
"""Its reason code. (string; set by the pipeline, through X-Ray's client or by itself)"""
DECISION_REASON_TEXT: Final = "xray.decision.reason_text"
"""The reason in words. (string; set by the pipeline, through X-Ray's client or by itself)"""
DECISION_SCORE: Final = "xray.decision.score"
"""Its score. (double; set by the pipeline, through X-Ray's client or by itself)"""
DECISION_VALUE: Final = "xray.decision.value"
"""
What the rule observed, a number, text or boolean. (any; set by the pipeline, through X-Ray's client
or by itself)
"""
DECISION_THRESHOLD: Final = "xray.decision.threshold"
"""
The limit that the value was compared with. (any; set by the pipeline, through X-Ray's client or by
itself)
"""
CHUNK_INDEX: Final = "xray.chunk.index"
"""Position of the chunk in its step, counted from 0. (int; set by X-Ray's client)"""
CHUNK_TOTAL: Final = "xray.chunk.total"
"""Chunks of the step; missing while the step still runs. (int; set by X-Ray's client)"""
CHUNK_COUNT: Final = "xray.chunk.count"
"""Decisions in the chunk. (int; set by X-Ray's client)"""
CHUNK_CHECKSUM: Final = "xray.chunk.checksum"
"""CRC-32 of the UTF-8 text of `xray.decisions.data`, as 8 hex digits. (string; set by X-Ray's client)"""
ARTIFACT_KIND: Final = "xray.artifact.kind"
"""What the artifact is to the step. (string; set by the pipeline, through X-Ray's client or by itself)"""
ARTIFACT_NAME: Final = "xray.artifact.name"
"""A name to show. (string; set by the pipeline, through X-Ray's client or by itself)"""
ARTIFACT_CONTENT_TYPE: Final = "xray.artifact.content_type"
"""Media type of the payload. (string; set by the pipeline, through X-Ray's client or by itself)"""
ARTIFACT_SIZE: Final = "xray.artifact.size"
"""Size of the payload in bytes. (int; set by X-Ray's client)"""
ARTIFACT_SHA256: Final = "xray.artifact.sha256"
"""SHA-256 of the payload in hex, which is also its address. (string; set by X-Ray's client)"""
ARTIFACT_DATA: Final = "xray.artifact.data"
"""
The payload, a string or bytes; missing when it lies behind `xray.artifact.url`. (any; set by the
pipeline, through X-Ray's client or by itself)
"""
ARTIFACT_URL: Final = "xray.artifact.url"
"""
Where the payload lies when it is not sent. (string; set by the pipeline, through X-Ray's client or
by itself)
"""
LOSSES_REPORT_ID: Final = "xray.losses.report_id"
"""
Id of the report, so that one that is sent again counts once; 1 to 128 characters of A-Z, a-z, 0-9,
`_` and `-`. (string; set by X-Ray's client)
"""
LOSSES_CAUSES: Final = "xray.losses.causes"
"""Why the sender dropped something, one entry per cause and kind. (string[]; set by X-Ray's client)"""
LOSSES_WHAT: Final = "xray.losses.what"
"""What was dropped, parallel to `xray.losses.causes`. (string[]; set by X-Ray's client)"""
LOSSES_COUNTS: Final = "xray.losses.counts"
"""How many, parallel to `xray.losses.causes`. (int[]; set by X-Ray's client)"""

# Names of OpenTelemetry that X-Ray reads and writes

GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
"""The model that an llm step asked. (set by X-Ray's client or any OpenTelemetry SDK)"""
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
"""The temperature that an llm step asked for. (set by X-Ray's client or any OpenTelemetry SDK)"""
ERROR_TYPE: Final = "error.type"
"""Class of the exception that ended the step or run. (set by X-Ray's client or any OpenTelemetry SDK)"""
SERVICE_NAME: Final = "service.name"
"""The program (resource). (set by X-Ray's client or any OpenTelemetry SDK)"""
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"
"""Where the program runs (resource). (set by the pipeline, through X-Ray's client or by itself)"""

# Events: names of OTLP log records

EVENT_RUN_START: Final = "xray.run.start"
"""A run began. Sent within 100 ms, so that a killed run is seen."""
EVENT_RUN_HEARTBEAT: Final = "xray.run.heartbeat"
"""A long run is still at work."""
EVENT_RUN_WAIT: Final = "xray.run.wait"
"""The run sleeps until a time or an event."""
EVENT_RUN_END: Final = "xray.run.end"
"""
The run ended; for engines and languages in which it has no span, and for runs whose span was
sampled out.
"""
EVENT_STEP: Final = "xray.step"
"""A step whose span was sampled out; carries the attributes that the span would have carried."""
EVENT_STEP_DECISIONS: Final = "xray.step.decisions"
"""One chunk of a step's decisions. May be shed."""
EVENT_DECISION: Final = "xray.decision"
"""
One candidate's decision, as an event of the step's span. SDKs keep 128 events of a span; prefer
xray.step.decisions.
"""
EVENT_DECISIONS: Final = "xray.decisions"
"""A chunk of decisions, as an event of the step's span; the chunks of a span in their order."""
EVENT_ARTIFACT: Final = "xray.artifact"
"""A bulky payload of a step or run. May be shed."""
EVENT_SCHEMA: Final = "xray.schema"
"""A version of a schema, once per process."""
EVENT_OUTCOME: Final = "xray.outcome"
"""
A late label of a run or of an item in it. The time of the event is when it was observed; of several
for one run, name and item the latest holds.
"""
EVENT_LOSSES: Final = "xray.losses"
"""What the sender had to drop of a run; without a run id, what it cannot tell the run of."""

# Vocabularies

SPAN_KINDS: Final = frozenset({"run", "step"})
"""Words of ``xray.span.kind``."""
STEP_TYPES: Final = frozenset({"search", "filter", "rank", "select", "llm", "custom"})
"""Words of ``xray.step.type``."""
STEP_STATUSES: Final = frozenset({"ok", "error"})
"""Words of ``xray.step.status``."""
RUN_STATUSES: Final = frozenset({"completed", "crashed", "cancelled"})
"""Words of ``xray.run.status``."""
CAPTURE_LEVELS: Final = frozenset({"metrics_only", "sampled", "full"})
"""Words of ``xray.capture.level``."""
LOSS_CAUSES: Final = frozenset(
    {
        "client_queue",
        "client_policy",
        "shed",
        "store_away",
        "over_limit",
        "refused",
        "truncated",
        "expired",
        "chunk_missing",
    }
)
"""Words of ``xray.losses.causes``."""
SENDER_LOSS_CAUSES: Final = frozenset({"client_queue", "client_policy"})
"""Those that a sender may use."""
LOST_THINGS: Final = frozenset({"runs", "steps", "decisions", "artifacts", "texts", "outcomes"})
"""Words of ``xray.losses.what``."""
EVALUATIONS: Final = frozenset({"single", "all", "first_failure"})
"""Words of ``rules.evaluation`` of a chunk."""
COMPARATORS: Final = frozenset({"<", "<=", ">", ">=", "==", "!="})
"""Signs of ``rules.comparators`` of a chunk."""
MISSING_VALUES: Final = frozenset({"passes", "fails"})
"""Words of ``rules.missing`` of a chunk."""
STEP_TYPE_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ranking": "rank",
        "rerank": "rank",
        "reranker": "rank",
        "reranking": "rank",
        "score": "rank",
        "scoring": "rank",
        "sort": "rank",
        "generate": "llm",
        "generation": "llm",
        "completion": "llm",
        "chat": "llm",
        "text_completion": "llm",
        "generate_content": "llm",
        "api": "custom",
        "tool": "custom",
        "transform": "custom",
        "enrich": "custom",
        "enrichment": "custom",
        "chain": "custom",
        "agent": "custom",
        "retrieve": "search",
        "retriever": "search",
        "retrieval": "search",
        "recall": "search",
        "query": "search",
        "filtering": "filter",
        "guardrail": "filter",
        "selection": "select",
        "decision": "select",
        "choose": "select",
    }
)
"""Words that stand for a step type, in lower case, and the type."""
VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "K": "kept",
        "E": "eliminated",
        "S": "scored",
        "W": "selected",
        "N": "not_selected",
        "D": "deferred",
        "M": "merged",
    }
)
"""Letters of the ``verdict`` column of a chunk of decisions, and the verdict."""
