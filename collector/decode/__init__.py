"""Request bytes to records: OTLP/protobuf and OTLP/JSON, no I/O, no knowledge of rows."""
