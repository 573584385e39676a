"""Which advertisements are shown beside a page."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Budget, Cap, Check, Dedup, Enrich, Model, Rule, Search, Select, TopK

PIPELINE = Pipeline(
    "ads",
    item={
        "source": pick(direct=4, exchange=5, house=1),
        "topic": pick(sport=4, travel=3, finance=3, food=2),
        "advertiser": pick(aa=3, bb=3, cc=2, dd=2, ee=1),
        "creative": whole(1, 700),
        "bid_cents": skewed(40, 0.6),
        "start_hour": whole(0, 12),
        "left_euro": skewed(120, 0.9),
        "shown_today": skewed(2, 0.8),
        "approved": flag(0.93),
        "fit": normal(0.5, 0.2),
        "history": maybe(0.1, normal(0.4, 0.15)),
        "weight_kb": skewed(150, 0.5),
    },
    query={"topic": pick(sport=4, travel=3, finance=3, food=2), "hour": whole(8, 20)},
    steps=(
        Search("eligible", lambda i, q: i["fit"] > 0.15, ("bid_cents", "fit", "history", "left_euro")),
        Check("approved", (Rule("approved", "==", 1.0, "not_approved"),)),
        Check("running", (Rule("start_hour", "<=", lambda q: q["hour"] - 4, "not_yet"),)),
        Check("funded", (Rule("left_euro", ">=", 30.0, "no_money_left"),)),
        Check("frequency", (Rule("shown_today", "<=", 5.0, "seen_too_often"),)),
        Check("light", (Rule("weight_kb", "<=", 320.0, "too_heavy"),)),
        Dedup("creative", ("creative", "advertiser")),
        Enrich("on_topic", "on_topic", lambda i, q: 1.0 if i["topic"] == q["topic"] else 0.0),
        Model(
            "click_model", "click", {"fit": 3.0, "history": 2.5, "on_topic": 0.8}, -3.4, counts_failures=True
        ),
        Check("click_floor", (Rule("click", ">=", 0.2, "click_too_unlikely"),)),
        Enrich("value", "value", lambda i, q: i["click"] * i["bid_cents"], raw="bid_cents"),
        Check("reserve", (Rule("value", ">=", 9.0, "below_reserve"),)),
        TopK("auction", "value", 24),
        Cap("competing", "advertiser", 7),
        Budget("page_weight", "weight_kb", 2400.0),
        TopK("slots", "value", 6),
        Select("lead", "value"),
    ),
    shifted={"topic": pick(sport=1, travel=2, finance=5, food=4)},
    size=260,
)
