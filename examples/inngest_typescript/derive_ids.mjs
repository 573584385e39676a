// The ids of X-Ray for step engines, version 1: the same as `xray_otel.derive_ids` in Python.
// Test vectors: semconv/derived_ids.json.
import { createHash } from "node:crypto";

const digest = (...parts) => {
  const joined = ["xray-ids-1", ...parts].map((part) => `${Buffer.byteLength(part)}:${part}`).join("");
  return createHash("sha256").update(joined).digest("hex");
};

/** runId: the engine's; key: tells the step from all others of the run; attempt: counted from 1. */
export function deriveIds(runId, key = undefined, attempt = 1) {
  [runId, key] = [runId.toWellFormed(), key?.toWellFormed()];
  const isShort = key !== undefined && key !== "" && Buffer.byteLength(key) <= 128;
  return {
    run_id: /^[A-Za-z0-9_-]{1,128}$/.test(runId) ? runId : digest("run-id", runId).slice(0, 32),
    trace_id: digest("trace", runId).slice(0, 32),
    root_span_id: digest("root", runId).slice(0, 16),
    step_id: key === undefined ? "" : isShort ? key : digest("step-id", key).slice(0, 32),
    span_id: key === undefined ? "" : digest("step", runId, key, String(attempt)).slice(0, 16),
  };
}
