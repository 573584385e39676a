"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields

from xray_otel._words import nearest
from xray_otel.settings import Settings

PREFIX = "XRAY_"
OTHERS = frozenset(
    {
        "ALERT_PRIVATE_ADDRESSES",
        "ALLOW_ANONYMOUS",
        "API_PORT",
        "API_URL",
        "ARTIFACT_ALLOW_HTTP",
        "ARTIFACT_GRACE_S",
        "ARTIFACT_INLINE_BYTES",
        "ARTIFACT_TIMEOUT_S",
        "ARTIFACT_URL",
        "BAD_OUTCOMES",
        "CORS_ORIGINS",
        "DATABASE_URL",
        "DATA_DIR",
        "GRPC_PORT",
        "HOST",
        "HTTP_PORT",
        "INFER",
        "INTAKE_MAX_BYTES",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MAPPING",
        "MAX_ARTIFACTS_PER_RUN",
        "MAX_ARTIFACT_BYTES",
        "MAX_DECISIONS_PER_STEP",
        "MAX_REQUEST_BYTES",
        "PG_BIN",
        "PROCESSES",
        "PYTHON",
        "RATE_LIMIT",
        "READ_TIMEOUT_S",
        "RECEIVE_MAX_BYTES",
        "REQUIRE_KEYS",
        "RETENTION_ARTIFACTS_DAYS",
        "RETENTION_DECISIONS_DAYS",
        "RETENTION_ROLLUPS_DAYS",
        "RETENTION_RUNS_DAYS",
        "RUN_TIMEOUT_S",
        "STATEMENT_TIMEOUT_MS",
        "TLS_CERT",
        "TLS_CLIENT_CA",
        "TLS_KEY",
        "UPKEEP",
        "VENV",
        "WRITERS",
        "WRITE_TIMEOUT_S",
    }
)
"""Without the prefix: what the server, its commands and the checkout read, which may be set beside."""
_TESTS = "TEST_"
_OF_SERVICES = re.compile(
    r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""What Kubernetes sets in every pod beside services whose names begin with xray."""


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable of ours that nothing reads, with the one that was probably meant."""
    ours = frozenset(field.name.upper() for field in fields(Settings))
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if variable != PREFIX + name or name in ours | OTHERS:
            continue
        if not name.startswith(_TESTS) and not _OF_SERVICES.fullmatch(name):
            meant = nearest(name, sorted(ours))
            yield f"{variable} is no setting" + (f" (did you mean {PREFIX}{meant}?)" if meant else "")
