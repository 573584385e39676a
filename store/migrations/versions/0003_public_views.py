"""Views for whoever reads with SQL: names and types stay, whatever becomes of the tables below."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The order of a run's steps and the status of a run are those of the API (store/queries/derived.py,
# store/queries/status.py); a test compares the two.
_ENTERING = """
CASE WHEN {0}.candidates_in IS NULL AND {0}.candidates_out IS NOT NULL THEN -4611686018427387904
     ELSE coalesce(-{0}.candidates_in, 0) END
"""
_AFTER_INDEX = f"""
{{0}}.started_at, {_ENTERING}, coalesce({{0}}.ended_at, '9999-12-31 00:00:00+00'::timestamptz),
{{0}}.step_id, {{0}}.attempt_key
"""
_OF_RUN = "o.run_key = {0}.run_key AND o.run_day = {0}.run_day"

_RUNS = f"""
CREATE VIEW xray_public.runs AS
SELECT
    r.run_id, r.run_day, r.pipeline, r.pipeline_version, r.entity,
    CASE
        WHEN own.ended THEN r.terminal_status
        WHEN extract(epoch FROM now() - CASE WHEN own.asleep THEN greatest(r.last_received_at, r.wait_until)
                                             ELSE r.last_received_at END)
             > coalesce(r.timeout_s, nullif(current_setting('xray.run_timeout_s', true), '')::float8, 900)
            THEN 'incomplete'
        WHEN own.asleep THEN 'waiting'
        ELSE 'running'
    END AS status,
    r.started_at,
    CASE WHEN own.ended THEN r.ended_at END AS ended_at,
    CASE WHEN own.ended THEN r.duration_ms END AS duration_ms,
    r.outcome, r.outcome_reason, r.tags, r.input, r.output, r.service_name, r.environment,
    r.schema_id, r.schema_version, r.capture_level,
    funnel.candidates_in, funnel.candidates_out,
    CASE WHEN funnel.candidates_in > 0 AND funnel.candidates_out <= funnel.candidates_in
         THEN (funnel.candidates_in - funnel.candidates_out)::float8 / funnel.candidates_in::float8
    END AS drop_ratio,
    funnel.steps_count, r.error_type, r.error_message, r.flags
FROM runs AS r
CROSS JOIN LATERAL (
    SELECT
        r.terminal_status IS NOT NULL
            AND (r.wait_at IS NULL OR r.ended_at IS NULL OR r.wait_at <= r.ended_at
                 OR r.end_sent_ns >= {1 << 62}) AS ended,
        r.wait_at IS NOT NULL AND NOT (
            coalesce(r.run_started_at > r.wait_at, false)
            OR EXISTS (SELECT FROM steps AS o WHERE {_OF_RUN.format("r")}
                       AND (o.started_at > r.wait_at OR o.ended_at > r.wait_at))
        ) AS asleep
) AS own
LEFT JOIN LATERAL (
    SELECT
        count(*) AS steps_count,
        (array_agg(coalesce(p.candidates_in, p.candidates_out) ORDER BY p.place)
            FILTER (WHERE coalesce(p.candidates_in, p.candidates_out) IS NOT NULL))[1] AS candidates_in,
        (array_agg(p.candidates_out ORDER BY p.place DESC)
            FILTER (WHERE p.candidates_out IS NOT NULL))[1] AS candidates_out
    FROM (
        SELECT n.candidates_in, n.candidates_out, row_number() OVER (
            ORDER BY CASE WHEN n.indexed THEN n.step_index END, {_AFTER_INDEX.format("n")}) AS place
        FROM (SELECT o.*, bool_and(o.step_index IS NOT NULL) OVER () AS indexed
              FROM steps AS o WHERE {_OF_RUN.format("r")}) AS n
    ) AS p
) AS funnel ON true
WHERE r.content_hash IS NOT NULL OR r.start_copy IS NOT NULL OR r.wait_at IS NOT NULL
    OR r.run_id IS DISTINCT FROM replace(r.trace_ids[1]::text, '-', '')
    OR EXISTS (SELECT FROM steps AS o WHERE {_OF_RUN.format("r")})
    OR EXISTS (SELECT FROM decisions AS o WHERE {_OF_RUN.format("r")})
    OR EXISTS (SELECT FROM artifacts AS o WHERE {_OF_RUN.format("r")})
    OR EXISTS (SELECT FROM losses AS o WHERE {_OF_RUN.format("r")})
"""
_ATTEMPT = f"""
coalesce(s.attempt, 1 + (
    SELECT count(*) FROM steps AS o
    WHERE {_OF_RUN.format("s")} AND o.step_id = s.step_id
        AND (o.started_at, o.attempt_key) < (s.started_at, s.attempt_key))::integer)
"""
_STEPS = f"""
CREATE VIEW xray_public.steps AS
SELECT
    r.run_id, s.run_day, s.step_id, {_ATTEMPT} AS attempt,
    CASE WHEN NOT EXISTS (SELECT FROM steps AS o WHERE {_OF_RUN.format("s")} AND o.step_index IS NULL)
         THEN s.step_index
         ELSE (SELECT count(*) FROM steps AS o WHERE {_OF_RUN.format("s")}
               AND ({_AFTER_INDEX.format("o")}) < ({_AFTER_INDEX.format("s")}))::integer
    END AS index,
    s.name, s.step_type, s.step_type_original, s.status,
    coalesce(s.pipeline, r.pipeline) AS pipeline,
    coalesce(s.pipeline_version, r.pipeline_version) AS pipeline_version,
    coalesce(s.service_name, r.service_name) AS service_name,
    coalesce(s.environment, r.environment) AS environment,
    r.entity, r.tags, s.started_at, s.ended_at, s.duration_ms,
    s.candidates_in, s.candidates_out, s.drop_ratio,
    s.kept, s.eliminated, s.scored, s.selected, s.not_selected, s.deferred, s.merged,
    s.score_min, s.score_max, s.score_mean, s.score_std, s.score_p10, s.score_p50, s.score_p90,
    s.selected_id, s.why, s.metrics, s.fields, s.sources, s.input, s.output, s.reasoning,
    s.model, s.temperature, s.top_k, s.parents, s.config_fingerprint, s.capture_level,
    s.decisions_recorded,
    (SELECT coalesce(sum(o.item_count), 0)::bigint FROM decisions AS o
     WHERE {_OF_RUN.format("s")} AND o.step_id = s.step_id AND o.attempt_key = s.attempt_key
        AND o.data IS NOT NULL AND substring(o.data, 1, 1) = '\\x01'::bytea) AS decisions_stored,
    s.inferred, s.error_type, s.error_message,
    replace(s.trace_id::text, '-', '') AS trace_id, encode(s.span_id, 'hex') AS span_id, s.flags
FROM steps AS s JOIN runs AS r ON r.run_key = s.run_key AND r.run_day = s.run_day
"""
_REASONS = f"""
CREATE VIEW xray_public.reasons AS
SELECT
    r.run_id, s.run_day, s.step_id, {_ATTEMPT} AS attempt, s.name, s.step_type,
    coalesce(s.pipeline, r.pipeline) AS pipeline,
    coalesce(s.pipeline_version, r.pipeline_version) AS pipeline_version,
    r.entity, s.started_at, given.reason, given.candidates
FROM steps AS s JOIN runs AS r ON r.run_key = s.run_key AND r.run_day = s.run_day
CROSS JOIN LATERAL unnest(s.reason_codes, s.reason_counts) AS given (reason, candidates)
"""
_COMMENTS = {
    "runs": "One row per run, as GET /runs shows it. docs/sql-views.md",
    "steps": "One row per attempt of a step, as GET /steps shows it. docs/sql-views.md",
    "reasons": "One row per reason of a step: its exact histogram. docs/sql-views.md",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA xray_public")
    op.execute("COMMENT ON SCHEMA xray_public IS 'Stable views for readers; xray db grant-reader ROLE'")
    for view in (_RUNS, _STEPS, _REASONS):
        op.execute(view)
    for name, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON VIEW xray_public.{name} IS '{comment}'")


def downgrade() -> None:
    for name in _COMMENTS:
        op.execute(f"DROP VIEW xray_public.{name}")
    op.execute("DROP SCHEMA xray_public")
