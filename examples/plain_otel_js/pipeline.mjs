// A product search in three steps, traced as one would without X-Ray. The lines with
// "xray." are all that X-Ray needs: a pipeline name on the outer span, and on each step
// its type and how many candidates went in and came out.
import { context, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

const endpoint = process.env.XRAY_ENDPOINT ?? 'http://127.0.0.1:4318';
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'plain-otel-js' }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: `${endpoint}/v1/traces` }))],
});
const tracer = provider.getTracer('shop');

const catalogue = Array.from({ length: 200 }, (_, i) => ({
  id: `P${i}`,
  price: 5 + ((i * 37) % 120),
  rating: 1 + ((i * 13) % 41) / 10,
}));

const run = tracer.startSpan('competitor-search', {
  attributes: { 'xray.pipeline.name': 'competitor-search-js', 'xray.run.entity': 'P7' },
});
const insideRun = trace.setSpan(context.active(), run);

function step(name, type, candidates, work) {
  const span = tracer.startSpan(name, { attributes: { 'xray.step.type': type } }, insideRun);
  const result = work(candidates);
  if (candidates !== null) {
    span.setAttribute('xray.candidates.in', candidates.length);
  }
  span.setAttribute('xray.candidates.out', result.length);
  span.end();
  return result;
}

const found = step('search_catalogue', 'search', null, () => catalogue);
const affordable = step('filter_by_price', 'filter', found, (items) => items.filter((item) => item.price <= 15));
const [best] = step('rank_by_rating', 'rank', affordable, (items) =>
  [...items].sort((a, b) => b.rating - a.rating).slice(0, 3),
);
run.setAttribute('xray.run.outcome', `matched ${best.id}`);
run.end();

try {
  await provider.shutdown();
} catch (error) {
  console.error(`the spans could not be sent to ${endpoint}: ${error.message}`);
  process.exitCode = 1;
}
console.log(`run ${run.spanContext().traceId}: ${found.length} found, ${affordable.length} affordable, ${best.id} chosen`);
