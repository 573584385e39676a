"""Finds the product of another shop that a product's price is compared with."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Enrich, Model, Rule, Search, Select, TopK

PIPELINE = Pipeline(
    "competitors",
    item={
        "type": pick(case=5, cable=3, stand=2),
        "brand": pick(ola=4, nor=3, pim=2, zed=1),
        "source": pick(north=3, south=2, feed=2),
        "price": skewed(30, 0.5),
        "rating": maybe(0.06, normal(4.1, 0.5, 1, 5)),
        "reviews": skewed(80, 1.0),
        "in_stock": flag(0.88),
        "likeness": normal(0.55, 0.18),
    },
    query={"type": pick(case=5, cable=3, stand=2), "price": skewed(30, 0.3), "brand": pick(ola=3, zed=2)},
    steps=(
        Search("find", lambda i, q: i["likeness"] > 0.25, ("price", "rating", "likeness")),
        Check("same_type", (Rule("type", "==", lambda q: q["type"], "type_differs"),)),
        Check("other_brand", (Rule("brand", "!=", lambda q: q["brand"], "own_brand"),)),
        Check(
            "price_band",
            (
                Rule("price", ">=", lambda q: round(0.5 * q["price"], 2), "price_too_low"),
                Rule("price", "<=", lambda q: round(2.0 * q["price"], 2), "price_too_high"),
            ),
        ),
        Check("available", (Rule("in_stock", "==", 1.0, "out_of_stock"),)),
        Check("quality", (Rule("rating", ">=", 3.6, "rating_too_low", "rating_unknown"),)),
        Enrich("popularity", "popular", lambda i, q: min(1.0, i["reviews"] / 400), raw="reviews"),
        Model("relevance", "score", {"likeness": 4.0, "popular": 1.5, "rating": 0.6}, -4.5),
        TopK("shortlist", "score", 6),
        Select("choose", "score"),
    ),
    shifted={"type": pick(case=2, cable=3, stand=5)},
    size=400,
)
