// X-Ray for Inngest: `new Inngest({ …, middleware: [XRay] })`, and nothing in the functions.
//
// Steps and runs are told apart by attributes, so it does not matter that the SDK opens a trace
// of its own for every request. Inside a step, say more about it on its span:
//   trace.getActiveSpan()?.setAttributes({ "xray.step.type": "filter", "xray.candidates.in": 40, "xray.candidates.out": 3 })
import { createHash } from "node:crypto";
import { SpanStatusCode, context, trace } from "@opentelemetry/api";
import { Middleware } from "inngest";
import { deriveIds } from "./derive_ids.mjs";

const tracer = trace.getTracer("xray.inngest");
const sha1 = (text) => createHash("sha1").update(text).digest("hex");

/** The step's id, with `:1`, `:2`, … where the function has used it before: what Inngest hashes. */
function stepKey({ hashedId, options: { id } }) {
  let key = id;
  for (let again = 1; sha1(key) !== hashedId && again < 10_000; again++) key = `${id}:${again}`;
  return sha1(key) === hashedId ? key : hashedId;
}

/** When the run began: an Inngest run id is a ULID, whose first ten characters are milliseconds. */
const startOf = (runId) =>
  [...runId.slice(0, 10)].reduce((sum, letter) => sum * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".indexOf(letter), 0);

export class XRay extends Middleware.BaseMiddleware {
  id = "xray";

  async wrapStepHandler({ ctx, fn, next, stepInfo }) {
    const attempt = ctx.attempt + 1;
    const ids = deriveIds(ctx.runId, stepKey(stepInfo), attempt);
    const span = tracer.startSpan(stepInfo.options.id, {
      attributes: {
        "xray.span.kind": "step",
        "xray.run.id": ids.run_id,
        "xray.step.id": ids.step_id,
        "xray.step.attempt": attempt,
        "xray.pipeline.name": fn.opts.id,
      },
    });
    try {
      return await context.with(trace.setSpan(context.active(), span), next);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
      span.setAttribute("error.type", error?.name ?? "Error");
      throw error;
    } finally {
      span.end();
    }
  }

  onRunComplete({ ctx, fn }) {
    this.#finish(ctx, fn, "completed");
  }

  onRunError({ ctx, error, fn, isFinalAttempt }) {
    if (isFinalAttempt) this.#finish(ctx, fn, "crashed", error);
  }

  #finish(ctx, fn, status, error) {
    const span = tracer.startSpan(fn.opts.id, {
      startTime: startOf(ctx.runId),
      root: true,
      attributes: {
        "xray.span.kind": "run",
        "xray.run.id": deriveIds(ctx.runId).run_id,
        "xray.pipeline.name": fn.opts.id,
        "xray.run.status": status,
        "xray.run.final": true,
        "xray.run.tag.engine": "inngest",
      },
    });
    if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
    span.end();
  }
}
