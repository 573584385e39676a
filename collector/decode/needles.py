"""Names that decide whether a record is looked at, and how closely; the same for both encodings."""

from __future__ import annotations

from typing import Final

from xray_otel import semconv

OURS: Final = b"xray."
DECISION_EVENT: Final = b"xray.decision"
"""Beginning of the names of span events that carry decisions."""
EVIDENCE: Final = frozenset({semconv.EVENT_STEP_DECISIONS, semconv.EVENT_ARTIFACT})
"""Log events of which there are no copies to order: their bytes need no hash."""
