"""
The page that Prometheus reads, for whichever port serves it.

Here because the collector and the API may not import each other, and both show one page.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where processes behind one port keep their metrics together (Prometheus client, "Multiprocess Mode")."""


def metrics_page(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the page and its media type. accept: the request's header of this name."""
    encode, media_type = choose_encoder(accept)
    if MULTIPROCESS_FOLDER not in os.environ:
        return encode(registry), media_type
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return encode(together), media_type
