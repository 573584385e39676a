"""Which payments of a batch a person has to look at."""

from __future__ import annotations

from benchmarks.faults.fields import by, flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Enrich, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "fraud",
    item={
        "source": pick(card=6, transfer=3, wallet=2),
        "currency": pick(eur=6, usd=3, huf=1),
        "amount": by("currency", {"eur": skewed(60, 0.9), "usd": skewed(66, 0.9), "huf": skewed(23000, 0.9)}),
        "hour": whole(0, 23),
        "device_days": maybe(0.08, skewed(120, 1.3)),
        "velocity": skewed(1.5, 0.7),
        "distance_km": skewed(12, 1.6),
        "listed": flag(0.04),
    },
    query={"review_limit": normal(0.45, 0.03)},
    steps=(
        Search("payments", lambda i, q: True, ("amount", "device_days", "velocity", "distance_km")),
        Check("not_listed", (Rule("listed", "!=", 1.0, "on_the_list"),)),
        Enrich(
            "in_euro",
            "euro",
            lambda i, q: i["amount"] * {"eur": 1.0, "usd": 0.91, "huf": 0.0026}[i["currency"]],
            "amount",
        ),
        Check("small", (Rule("euro", ">=", 15.0, "too_small_to_matter"),)),
        Enrich("size", "size", lambda i, q: min(1.0, i["euro"] / 300), raw="euro"),
        Enrich(
            "newness",
            "newness",
            lambda i, q: None if i["device_days"] is None else 1 / (1 + i["device_days"] / 30),
        ),
        Enrich("haste", "haste", lambda i, q: min(1.0, i["velocity"] / 5)),
        Enrich("night", "night", lambda i, q: 1.0 if i["hour"] < 5 else 0.0),
        Model(
            "risk",
            "risk",
            {"size": 2.2, "newness": 2.4, "haste": 1.8, "night": 0.9},
            -2.8,
            counts_failures=True,
        ),
        Check("suspicious", (Rule("risk", ">=", lambda q: q["review_limit"], "risk_low"),)),
        TopK("review", "risk", 25),
    ),
    shifted={"currency": pick(eur=3, usd=4, huf=4)},
    size=200,
)
