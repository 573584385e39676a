"""Which courier brings an order."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Enrich, Model, Rule, Search, Select, TopK

PIPELINE = Pipeline(
    "dispatch",
    item={
        "source": pick(fleet=5, partner=3, gig=3),
        "vehicle": pick(bike=5, scooter=3, car=2),
        "metres": skewed(1800, 0.6),
        "load_kg": skewed(6, 0.5),
        "battery": maybe(0.07, normal(0.6, 0.2)),
        "until_hour": whole(12, 24),
        "rating": normal(4.4, 0.3, 1, 5),
        "busy": flag(0.25),
    },
    query={"hour": whole(11, 19), "weight": normal(4, 1, 1, 9)},
    steps=(
        Search("nearby", lambda i, q: i["metres"] < 6000, ("metres", "load_kg", "battery", "rating")),
        Check("idle", (Rule("busy", "!=", 1.0, "busy"),)),
        Check("on_shift", (Rule("until_hour", ">=", lambda q: q["hour"] + 1, "shift_ends"),)),
        Check("charged", (Rule("battery", ">=", 0.3, "battery_low"),)),
        Check("room", (Rule("load_kg", ">=", lambda q: round(q["weight"], 1), "no_room"),)),
        Enrich("distance", "km", lambda i, q: i["metres"] / 1000, raw="metres"),
        Enrich(
            "minutes",
            "minutes",
            lambda i, q: i["km"] * {"bike": 4.0, "scooter": 2.6, "car": 3.2}[i["vehicle"]],
        ),
        Check("in_time", (Rule("minutes", "<=", 14.0, "too_late"),)),
        Enrich("quickness", "quick", lambda i, q: 1 / (1 + i["minutes"] / 6), raw="minutes"),
        Model("offer_model", "offer", {"quick": 4.0, "rating": 0.8, "battery": 0.8}, -5.2),
        TopK("offers", "offer", 8),
        Select("courier", "offer"),
    ),
    shifted={"vehicle": pick(bike=2, scooter=2, car=6)},
    size=180,
)
