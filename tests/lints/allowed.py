"""What the store sends and a distributed store refuses or does otherwise, by sender and rule, with why."""

from __future__ import annotations

_RUN_BY_RUN = "rows of several runs are locked at once"
_ADOPTION = "adoption moves steps between runs; it does not work on Citus (decision 0044)"
_ROLLED = "step_hours is a table of the coordinator; the two sides of a union are computed each by itself"
_MARKS = "rollup_marks is a table of the coordinator, which writers share; it is fetched for the join"

ALLOWED: dict[tuple[str, str], str] = {
    ("store/landing.py:_read", "row-locks"): _RUN_BY_RUN,
    ("store/wiping.py:_rewrite", "row-locks"): _RUN_BY_RUN,
    ("store/moving.py:_found", "row-locks"): _ADOPTION,
    ("store/moving.py:_found", "join"): _ADOPTION,
    ("store/moving.py:_free", "row-locks"): _ADOPTION,
    ("store/moving.py:take", "row-locks"): _ADOPTION,
    ("store/queries/metrics_coverage.py:coverage", "local"): _MARKS,
    ("store/rollups.py:tidy", "local"): _MARKS,
    ("store/queries/metrics_groups.py:page_of", "local"): _ROLLED,
    ("store/queries/metrics_rolled.py:step_metrics", "local"): _ROLLED,
    (
        "store/retention.py:detach_behind_readers",
        "detach-concurrently",
    ): "not reached where the database has the extension citus",
}
