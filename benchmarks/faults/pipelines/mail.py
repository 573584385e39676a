"""Which messages are shown at once."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "mail",
    item={
        "source": pick(inbox=6, lists=3, shared=1),
        "spam": normal(0.25, 0.2),
        "known": flag(0.6),
        "kilobytes": skewed(40, 1.2),
        "urgency": maybe(0.05, normal(0.4, 0.2)),
        "direct": normal(0.5, 0.2),
    },
    query={"limit": normal(0.6, 0.03)},
    steps=(
        Search("fetch", lambda i, q: True, ("spam", "urgency", "direct")),
        Check(
            "clean",
            (Rule("spam", "<=", lambda q: q["limit"], "spam"), Rule("kilobytes", "<=", 400.0, "too_large")),
        ),
        Model("importance", "importance", {"urgency": 3.0, "direct": 2.0, "known": 0.8}, -2.4),
        Check("important", (Rule("importance", ">=", 0.45, "can_wait"),)),
        TopK("first_page", "importance", 25),
    ),
    shifted={"source": pick(inbox=2, lists=6, shared=2)},
)
