// Sends one recorded pipeline by opentelemetry-js and ends with 0 when every export succeeded.
//
//   node send.mjs PIPELINE.json http://127.0.0.1:4318 json|protobuf|grpc RUN_ID
//
// "json" is OTLP/HTTP JSON without compression, "protobuf" is OTLP/HTTP protobuf with gzip,
// "grpc" is OTLP/gRPC with gzip to the endpoint as it is.
import { readFileSync } from 'node:fs';
import { context, diag, DiagConsoleLogger, DiagLogLevel, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPLogExporter as GrpcLogs } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtobufLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPTraceExporter as GrpcTraces } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [, , pipelineFile, endpoint, encoding, runId] = process.argv;
const pipeline = JSON.parse(readFileSync(pipelineFile, 'utf8'));
const [Traces, Logs] = {
  json: [JsonTraces, JsonLogs],
  protobuf: [ProtobufTraces, ProtobufLogs],
  grpc: [GrpcTraces, GrpcLogs],
}[encoding];
const options = (path) => ({
  url: encoding === 'grpc' ? endpoint : `${endpoint}${path}`,
  compression: encoding === 'json' ? 'none' : 'gzip',
});

// The batch processors swallow failed exports; the exit code must not.
let failures = 0;
const counting = (exporter) => {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    send(items, (result) => {
      if (result.code !== 0) {
        failures += 1;
        console.error(`export failed: ${result.error?.message}`);
      }
      done(result);
    });
  return exporter;
};

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);
const resource = resourceFromAttributes({ 'service.name': `interop-js-${encoding}` });
const tracers = new BasicTracerProvider({
  resource,
  spanProcessors: [
    new BatchSpanProcessor(counting(new Traces(options('/v1/traces')))),
  ],
});
const loggers = new LoggerProvider({
  resource,
  processors: [
    new BatchLogRecordProcessor({
      exporter: counting(new Logs(options('/v1/logs'))),
    }),
  ],
});
const tracer = tracers.getTracer('interop');
const logger = loggers.getLogger('interop');
const identified = (attributes) => ({ ...attributes, ...pipeline.identity, 'xray.run.id': runId });

const runSpan = tracer.startSpan(pipeline.run.name, { attributes: identified(pipeline.run.attributes) });
const insideRun = trace.setSpan(context.active(), runSpan);
for (const step of pipeline.steps) {
  const span = tracer.startSpan(step.name, { attributes: identified(step.attributes) }, insideRun);
  for (const event of step.events ?? []) {
    logger.emit({
      eventName: event.name,
      attributes: identified(event.attributes),
      context: trace.setSpan(insideRun, span),
    });
  }
  if (step.error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: step.error });
  }
  span.end();
}
runSpan.end();

await tracers.forceFlush();
await loggers.forceFlush();
await tracers.shutdown();
await loggers.shutdown();
process.exitCode = failures === 0 ? 0 : 1;
