"""
What a sender says it had to drop: ``xray.losses``.

A report without a run id stays without one. That it was made while some trace was at work says
nothing about what was lost, so the trace does not stand in for the run as it does elsewhere.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any

from collector.extract.extraction import Extraction
from collector.extract.fields import INT64_MAX, count, items, word
from collector.extract.identity import Defaults, is_run_id
from collector.extract.readings import NamedValues
from store.rows import Flag, Loss
from xray_otel import semconv

_ARRAYS = (semconv.LOSSES_CAUSES, semconv.LOSSES_WHAT, semconv.LOSSES_COUNTS)
_READERS = (word(semconv.SENDER_LOSS_CAUSES), word(semconv.LOST_THINGS), count())
_ACCEPTED = (
    f"a cause ({', '.join(sorted(semconv.SENDER_LOSS_CAUSES))}), "
    f"what ({', '.join(sorted(semconv.LOST_THINGS))}) and a count"
)
_DIGEST_BYTES = 16


def extract_losses(attributes: NamedValues, time_ns: int, shared: Defaults, extraction: Extraction) -> None:
    """Add the losses of one report; entries that cannot be understood are refused, the others stand."""
    columns, problems = _columns(attributes)
    totals: Counter[tuple[str, str]] = Counter()
    for position, entry in enumerate(zip(*columns, strict=False)):
        cause, what, lost = (read(sent, "", []) for read, sent in zip(_READERS, entry, strict=True))
        if cause is None or what is None or lost is None:
            problems.append(f"entry {position} must be {_ACCEPTED}")
        else:
            totals[cause, what] = min(totals[cause, what] + lost, INT64_MAX)
    if problems:
        extraction.refuse("losses", f"event {semconv.EVENT_LOSSES!r}: {problems[0]}")
    sent_run_id = attributes.get(semconv.RUN_ID)
    run_id = sent_run_id if is_run_id(sent_run_id) else None
    report_id = attributes.get(semconv.LOSSES_REPORT_ID)
    if not is_run_id(report_id):
        report_id = _digest(time_ns, shared.service_name, run_id, sorted(totals.items()))
    extraction.losses += [
        Loss(
            run_id=run_id,
            cause=cause,
            what=what,
            subject=report_id,
            lost=lost,
            pipeline=shared.pipeline,
            service_name=shared.service_name,
        )
        for (cause, what), lost in totals.items()
        if lost
    ]


def _columns(attributes: NamedValues) -> tuple[list[list[Any]], list[str]]:
    """Return causes, things and counts, and what is wrong with them."""
    flags: list[Flag] = []
    columns = [items(attributes.get(name), name, flags) or [] for name in _ARRAYS]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) == 1 and lengths[0]:
        return columns, []
    named = ", ".join(f"{length} {name}" for length, name in zip(lengths, _ARRAYS, strict=True))
    return columns, [f"the arrays must be parallel and not empty, got {named}"]


def _digest(*told: Any) -> str:
    """Stand in for the id of a report without one: a hash of what tells it from others."""
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
