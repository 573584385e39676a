"""Takes telemetry in: OTLP by gRPC and HTTP and the JSON doors, and answers after the commit."""
