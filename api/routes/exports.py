"""All rows of a question as a file that is written while it is read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from api import schemas, schemas_decisions, shaping
from api.exports import columns
from api.exports.columns import Column
from api.exports.formats import MEDIA_TYPES, ndjson, table_csv, table_parquet
from api.parameters import described_export
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter
from store.queries.filters import Filters, parse, unrepeated
from store.queries.vocabulary import EXPORTED_DECISIONS, RUNS, STEPS, Vocabulary
from store.reader import Reader

router = APIRouter(prefix="/export", tags=["exports"])


class _Export(NamedTuple):
    """What is exported, and how it looks."""

    name: str
    vocabulary: Vocabulary
    read: Callable[[Reader, Filters], Generator[Sequence[Any], None, None]]
    answer: Callable[[Any], BaseModel]
    columns: Sequence[Column]


_RUNS = _Export("runs", RUNS, Reader.every_run, shaping.run, columns.RUNS)
_STEPS = _Export("steps", STEPS, Reader.every_step, schemas.Step.model_validate, columns.STEPS)
_DECISIONS = _Export(
    "decisions",
    EXPORTED_DECISIONS,
    Reader.every_decision,
    schemas_decisions.ItemDecision.model_validate,
    columns.DECISIONS,
)


class ExportResponse(StreamingResponse):
    """A streamed file; whatever ends it, the rows behind it are closed, and with them their connection."""

    def __init__(self, content: Iterable[bytes], rows: Generator[Any, None, None], **options: Any) -> None:
        super().__init__(content, **options)
        self._rows = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Shielded: whoever asked may be gone, and waiting is cancelled then.
            with anyio.CancelScope(shield=True):
                await run_sync(self._rows.close)


@router.get("/runs", openapi_extra=described_export(RUNS), response_class=StreamingResponse)
def export_runs(request: Request) -> Response:
    """All runs that satisfy all filters, newest first, without pages."""
    return _answer(request, _RUNS)


@router.get("/steps", openapi_extra=described_export(STEPS), response_class=StreamingResponse)
def export_steps(request: Request) -> Response:
    """All steps that satisfy all filters, newest first, without pages."""
    return _answer(request, _STEPS)


@router.get(
    "/decisions", openapi_extra=described_export(EXPORTED_DECISIONS), response_class=StreamingResponse
)
def export_decisions(request: Request) -> Response:
    """All decisions of the steps that satisfy the filters, newest step first, in the order judged."""
    return _answer(request, _DECISIONS)


def _answer(request: Request, export: _Export) -> Response:
    sent = unrepeated(request.query_params.multi_items())
    wanted = sent.pop("format", "ndjson")
    if wanted not in MEDIA_TYPES:
        raise InvalidParameter(
            "format", f"format must be one of {', '.join(MEDIA_TYPES)}, got {shown(wanted)}"
        )
    for name in ("limit", "cursor"):
        if name in sent:
            raise InvalidParameter(name, f"{name} is no parameter of an export, which has no pages")
    filters, _ = parse(export.vocabulary, sent.items())
    options: dict[str, Any] = {
        "media_type": MEDIA_TYPES[wanted],
        "headers": {"Content-Disposition": f'attachment; filename="{export.name}.{wanted}"'},
    }
    if request.scope.get("is_head"):
        return Response(**options)
    batches = export.read(request.app.state.reader, filters)
    render = {
        "ndjson": partial(ndjson, export.answer),
        "csv": partial(table_csv, export.columns),
        "parquet": partial(table_parquet, export.columns),
    }[wanted]
    content = render(batches)
    # What fails before the first bytes is answered as every failure is.
    try:
        first = next(content, b"")
    except BaseException:
        batches.close()
        raise
    return ExportResponse(chain((first,), content), batches, **options)
