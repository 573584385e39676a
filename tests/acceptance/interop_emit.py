"""The recorded pipeline as spans and events of opentelemetry-python, whatever exports them."""

from __future__ import annotations

from typing import Any

from opentelemetry import context, trace
from opentelemetry._logs import LogRecord


def emit(pipeline: dict[str, Any], tracer: trace.Tracer, logger: Any, run_id: str) -> None:
    """Make the pipeline's spans and events."""
    identity = {**pipeline["identity"], "xray.run.id": run_id}
    run = pipeline["run"]
    with tracer.start_as_current_span(run["name"], attributes={**run["attributes"], **identity}):
        for step in pipeline["steps"]:
            with tracer.start_as_current_span(step["name"], attributes={**step["attributes"], **identity}):
                for event in step.get("events", ()):
                    logger.emit(
                        LogRecord(
                            event_name=event["name"],
                            attributes={**event["attributes"], **identity},
                            context=context.get_current(),
                        )
                    )
