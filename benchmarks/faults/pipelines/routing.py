"""Which support tickets of a batch go to the hurried team."""

from __future__ import annotations

from benchmarks.faults.fields import maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Cap, Check, Enrich, Label, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "routing",
    item={
        "channel": pick(mail=5, chat=4, phone=1),
        "source": pick(eu=4, us=4, apac=2),
        "billing": normal(0.4, 0.25),
        "defect": normal(0.4, 0.25),
        "anger": maybe(0.04, normal(0.35, 0.2)),
        "plan": pick(free=5, team=3, enterprise=1),
        "waiting_min": skewed(90, 0.8),
        "sent_hour": whole(0, 23),
    },
    query={"queue_limit": normal(0.5, 0.04)},
    steps=(
        Search("inbox", lambda i, q: True, ("billing", "defect", "anger", "waiting_min")),
        Check(
            "office_hours", (Rule("sent_hour", ">=", 6, "at_night"), Rule("sent_hour", "<=", 21, "at_night"))
        ),
        Label(
            "intent",
            "intent",
            {"billing": {"billing": 1.0}, "defect": {"defect": 1.0}, "other": {"anger": 0.9}},
        ),
        Check("ours", (Rule("intent", "in", ("billing", "defect"), "another_team"),)),
        Enrich("weight", "weight", lambda i, q: {"free": 0.1, "team": 0.5, "enterprise": 1.0}[i["plan"]]),
        Enrich("wait", "wait", lambda i, q: min(1.0, i["waiting_min"] / 240), raw="waiting_min"),
        Model("urgency", "urgency", {"anger": 2.5, "weight": 1.8, "wait": 2.0}, -2.4),
        Check("urgent", (Rule("urgency", ">=", lambda q: q["queue_limit"], "can_wait"),)),
        TopK("queue", "urgency", 30),
        Cap("fair", "channel", 14),
    ),
    shifted={"plan": pick(free=2, team=4, enterprise=3)},
)
