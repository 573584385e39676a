"""Puts new products into categories and accepts the sure ones."""

from __future__ import annotations

from benchmarks.faults.fields import maybe, normal, pick, skewed
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Enrich, Label, Model, Rule, Search

PIPELINE = Pipeline(
    "categories",
    item={
        "source": pick(import_a=4, import_b=3, hand=1),
        "titled": normal(0.6, 0.2),
        "toy": normal(0.4, 0.2),
        "tool": normal(0.4, 0.2),
        "book": normal(0.35, 0.2),
        "weight_g": maybe(0.05, skewed(600, 0.9)),
        "picture": normal(0.55, 0.2),
    },
    query={"sure": normal(0.5, 0.03)},
    steps=(
        Search("arrivals", lambda i, q: True, ("titled", "weight_g", "picture")),
        Enrich(
            "weight",
            "kilos",
            lambda i, q: None if i["weight_g"] is None else i["weight_g"] / 1000,
            "weight_g",
        ),
        Check(
            "complete",
            (
                Rule("kilos", "<=", 8.0, "too_heavy", "weight_unknown"),
                Rule("titled", ">=", 0.3, "title_poor"),
            ),
        ),
        Label(
            "category",
            "category",
            {"toys": {"toy": 1.0}, "tools": {"tool": 1.0, "kilos": 0.05}, "books": {"book": 1.1}},
        ),
        Model("certainty", "certainty", {"titled": 3.0, "picture": 2.5}, -2.7),
        Check("sure", (Rule("certainty", ">=", lambda q: q["sure"], "unsure"),)),
    ),
    shifted={"source": pick(import_a=1, import_b=2, hand=5), "toy": normal(0.55, 0.2)},
)
