"""X-Ray as a part that a team puts into its own set-up of OpenTelemetry."""

from __future__ import annotations

from xray_otel._processor import SpanOutlet, SpanTap
from xray_otel._setup import client, client_or_none


class XRaySpanProcessor(SpanTap):
    """
    X-Ray's processor for a TracerProvider of the team's::

        provider.add_span_processor(xray_otel.XRaySpanProcessor())

    It takes the ended spans with ``xray.*`` attributes, whoever made them, and stamps
    ``xray.run.id`` on the spans that start inside a run. Other spans do not leave by it, and
    the team's other processors and exporters see what they always saw. Unneeded where
    ``run`` and ``step`` are used: they join the provider by themselves; having both sends
    nothing twice.

    Endpoint and all else come from ``configure()`` or the environment. Raises nothing in the
    mode ``best_effort``; SettingsError for a bad setting in ``strict``, when it is made.
    Cost: 3 µs for a span that is not X-Ray's, 6 µs with a stamp; nothing waits for the network.
    """

    def __init__(self) -> None:
        client()  # reads the settings, so that a bad one shows where X-Ray is set up
        super().__init__(client_or_none)


class XRaySpanExporter(SpanOutlet):
    """
    X-Ray as an exporter, for whatever takes one: a BatchSpanProcessor, or by environment
    ``OTEL_TRACES_EXPORTER=xray`` (also ``otlp,xray``).

    Takes what ``XRaySpanProcessor`` takes, but stamps no run ids, and a span waits in the
    processor before it waits here; prefer the processor where there is a choice. Accepts and
    ignores any arguments that a configurator gives to exporters. Errors and cost as there.
    """

    def __init__(self, **_: object) -> None:
        client()  # reads the settings, so that a bad one shows where X-Ray is set up
        super().__init__(client_or_none)
