// An Inngest app with X-Ray. `node app.mjs PORT`; settings: XRAY_ENDPOINT (http://127.0.0.1:4318).
import { createServer } from "node:http";
import { trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { Inngest } from "inngest";
import { serve } from "inngest/node";
import { XRay } from "./xray.mjs";

const endpoint = process.env.XRAY_ENDPOINT ?? "http://127.0.0.1:4318";
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "inngest-typescript" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: `${endpoint}/v1/traces` }))],
});
provider.register();

const inngest = new Inngest({ id: "app", isDev: true, checkpointing: false, middleware: [XRay] });
let ran = 0;
let searches = 0;

const select = inngest.createFunction(
  { id: "select", retries: 3, triggers: [{ event: "t/select" }], checkpointing: false },
  async ({ step }) => {
    await step.run("keywords", () => ++ran);
    const prices = await step.run("search", () => {
      ran++;
      if (++searches % 2 === 1) throw new Error("search is away");
      trace.getActiveSpan()?.setAttributes({ "xray.step.type": "search", "xray.candidates.out": 3 });
      return [1, 2, 3];
    });
    for (let round = 0; round < 2; round++) await step.run("score", () => ++ran);
    await step.sleep("nap", "3h");
    await Promise.all([step.run("left", () => ++ran), step.run("right", () => ++ran)]);
    return await step.run("choose", () => {
      ran++;
      trace.getActiveSpan()?.setAttributes({
        "xray.step.type": "select",
        "xray.candidates.in": prices.length,
        "xray.candidates.out": 1,
      });
      return Math.max(...prices);
    });
  },
);

const fails = inngest.createFunction(
  { id: "fails", retries: 1, triggers: [{ event: "t/fails" }], checkpointing: false },
  async ({ step }) => {
    await step.run("a", () => {
      ran++;
      throw new Error("always");
    });
  },
);

const handle = serve({ client: inngest, functions: [select, fails] });
createServer(async (request, response) => {
  if (request.url !== "/flush") return handle(request, response);
  await provider.forceFlush();
  response.end(JSON.stringify({ ran }));
}).listen(Number(process.argv[2] ?? 3000), "127.0.0.1");
