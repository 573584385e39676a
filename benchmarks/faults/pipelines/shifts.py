"""Who is asked to take over a shift."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Budget, Cap, Check, Enrich, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "shifts",
    item={
        "source": pick(own=6, pool=3, agency=2),
        "ward": pick(a=3, b=3, c=2, d=2),
        "trained": flag(0.8),
        "free_from_hour": whole(0, 20),
        "week_hours": normal(28, 8, 0, 60),
        "rest_hours": skewed(20, 0.5),
        "distance_km": skewed(9, 0.7),
        "rate": maybe(0.04, normal(32, 6, 18, 70)),
        "reliable": normal(0.7, 0.15),
    },
    query={"hour": whole(10, 20), "money": normal(520, 30, 400, 650)},
    steps=(
        Search("staff", lambda i, q: True, ("week_hours", "rest_hours", "distance_km", "rate")),
        Check("trained", (Rule("trained", "==", 1.0, "not_trained"),)),
        Check("free", (Rule("free_from_hour", "<=", lambda q: q["hour"], "not_free"),)),
        Check("rested", (Rule("rest_hours", ">=", 11.0, "too_little_rest"),)),
        Check("week", (Rule("week_hours", "<=", 38.0, "too_many_hours"),)),
        Check("near", (Rule("distance_km", "<=", 25.0, "too_far"),)),
        Enrich("nearness", "nearness", lambda i, q: 1 / (1 + i["distance_km"] / 10), raw="distance_km"),
        Enrich("cheapness", "cheap", lambda i, q: None if i["rate"] is None else 1 - i["rate"] / 70),
        Model("preference", "preference", {"reliable": 3.0, "nearness": 2.0, "cheap": 1.5}, -3.6),
        TopK("asked_first", "preference", 36),
        Cap("per_ward", "ward", 10),
        Budget("money", "rate", lambda q: q["money"]),
    ),
    shifted={"source": pick(own=2, pool=4, agency=5), "distance_km": skewed(14, 0.7)},
    size=180,
)
