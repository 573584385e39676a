"""A pipeline that knows OpenTelemetry only; three attributes make its spans steps."""
