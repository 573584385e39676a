"""All pipelines of the bench, in a fixed order."""

from __future__ import annotations

from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.pipelines import (
    ads,
    categories,
    competitors,
    dispatch,
    feed,
    films,
    fraud,
    hiring,
    loans,
    mail,
    moderation,
    rag,
    routing,
    shifts,
)

PIPELINES: dict[str, Pipeline] = {
    module.PIPELINE.name: module.PIPELINE
    for module in (
        competitors,
        moderation,
        routing,
        hiring,
        fraud,
        ads,
        rag,
        categories,
        shifts,
        feed,
        loans,
        dispatch,
        films,
        mail,
    )
}
