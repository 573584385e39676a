"""Which passages an answer is written from."""

from __future__ import annotations

from benchmarks.faults.fields import maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Budget, Check, Dedup, Judge, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "rag",
    item={
        "source": pick(wiki=5, tickets=3, manual=2),
        "product": pick(one=4, two=3, three=2),
        "document": whole(1, 60),
        "paragraph": whole(1, 12),
        "dense": normal(0.45, 0.18),
        "sparse": normal(0.35, 0.2),
        "written_days": skewed(300, 1.0),
        "tokens": skewed(180, 0.5),
        "quality": maybe(0.07, normal(0.6, 0.15)),
    },
    query={"product": pick(one=4, two=3, three=2), "max_days": whole(700, 1100)},
    steps=(
        Search(
            "retrieve",
            lambda i, q: i["dense"] > 0.3 or i["product"] == q["product"],
            ("dense", "sparse", "written_days", "tokens"),
        ),
        Check("fresh", (Rule("written_days", "<=", lambda q: q["max_days"], "outdated"),)),
        Dedup("passages", ("document", "paragraph")),
        Model("fuse", "fused", {"dense": 4.0, "sparse": 2.5}, -2.6, noise=0.1),
        TopK("first_stage", "fused", 50),
        Judge("rerank", "rerank", {"dense": 3.0, "sparse": 1.5, "quality": 2.0}, -3.2, counts_failures=True),
        Check("relevant", (Rule("rerank", ">=", 0.38, "not_relevant"),)),
        TopK("second_stage", "rerank", 14),
        Budget("context", "tokens", 1800.0),
    ),
    shifted={"product": pick(one=1, two=3, three=5)},
    size=220,
)
