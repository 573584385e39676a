"""From the store's records to answers, where names or nesting differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api import schemas, schemas_metrics
from store.queries.types import ListCompleteness, Page, RunDetail, RunRecord
from store.queries.types_metrics import MetricsPage, ReasonMetrics, StepMetrics

_RUN_FIELDS = tuple(name for name in schemas.Run.model_fields if name != "declared_schema")


def run(record: RunRecord) -> schemas.Run:
    """Return the run without its steps."""
    return schemas.Run.model_validate(_run_values(record))


def run_with_steps(detail: RunDetail) -> schemas.RunWithSteps:
    """Return the run with its steps."""
    return schemas.RunWithSteps.model_validate(_run_values(detail.run) | {"steps": detail.steps})


def _run_values(record: RunRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _RUN_FIELDS}
    declared = None
    if record.schema_id is not None or record.schema_version is not None:
        declared = {"id": record.schema_id, "version": record.schema_version}
    return values | {"declared_schema": declared}


def step_metrics(page: MetricsPage[StepMetrics]) -> schemas_metrics.StepMetricsList:
    """Return the list; an item holds the columns it was grouped by, and no others."""
    names = ("steps", "errors", "candidates_in", "candidates_out", "drop_ratio", "duration_ms", "score_mean")
    items = [_grouped(item, names) for item in page.items]
    values = _page(items, page.next_cursor, page.completeness) | {"resolution": page.resolution}
    return schemas_metrics.StepMetricsList.model_validate(values)


def reason_metrics(page: Page[ReasonMetrics]) -> schemas_metrics.ReasonMetricsList:
    """Return the list; an item holds the columns it was grouped by, and no others."""
    items = [_grouped(item, ("reason", "count", "share")) for item in page.items]
    return schemas_metrics.ReasonMetricsList.model_validate(_page(items, page.next_cursor, page.completeness))


def _grouped(item: StepMetrics | ReasonMetrics, names: Iterable[str]) -> dict[str, Any]:
    # Unset, not null: routes leave unset fields out, and a null group is a group.
    values = dict(item.group) | {name: getattr(item, name) for name in names}
    return values if item.bucket_start is None else values | {"bucket_start": item.bucket_start}


def _page(items: list[dict[str, Any]], next_cursor: str | None, stated: ListCompleteness) -> dict[str, Any]:
    return {"items": items, "next_cursor": next_cursor, "completeness": stated}
