"""Which applicants are invited."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Cap, Check, Dedup, Enrich, Judge, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "hiring",
    item={
        "person": whole(1, 1500),
        "source": pick(board=5, referral=2, agency=2),
        "country": pick(de=5, at=2, pl=2, other=1),
        "years": skewed(5, 0.6),
        "months_gap": skewed(3, 0.8),
        "permit": flag(0.85),
        "skills": normal(0.5, 0.2),
        "wage": maybe(0.12, skewed(62, 0.25)),
        "writing": normal(0.6, 0.15),
        "test": maybe(0.1, normal(0.55, 0.2)),
    },
    query={"years": whole(2, 4), "wage": normal(80, 5, 60, 100)},
    steps=(
        Search("applications", lambda i, q: i["skills"] > 0.1, ("years", "skills", "wage", "test")),
        Dedup("same_person", ("person",)),
        Check("permit", (Rule("permit", "==", 1.0, "no_permit"),)),
        Check("years", (Rule("years", ">=", lambda q: q["years"], "too_junior"),)),
        Check("wage", (Rule("wage", "<=", lambda q: round(q["wage"], 1), "too_dear"),)),
        Enrich("seniority", "senior", lambda i, q: min(1.0, i["years"] / 12), raw="years"),
        Enrich("steadiness", "steady", lambda i, q: 1 / (1 + i["months_gap"] / 6)),
        Model("fit", "fit", {"skills": 4.0, "senior": 1.2, "steady": 1.0}, -3.2),
        Check("fit_enough", (Rule("fit", ">=", 0.42, "fit_too_low"),)),
        Judge("letter", "letter", {"writing": 5.0, "fit": 1.0}, -3.4, counts_failures=True),
        Check("letter_enough", (Rule("letter", ">=", 0.4, "letter_weak"),)),
        Check("assessed", (Rule("test", ">=", 0.35, "test_failed", "test_missing"),)),
        Enrich("total", "total", lambda i, q: 0.6 * i["fit"] + 0.4 * i["letter"], raw="letter"),
        TopK("longlist", "total", 20),
        Cap("per_country", "country", 9),
        TopK("invite", "total", 8),
    ),
    shifted={"source": pick(board=2, referral=2, agency=6), "permit": flag(0.7)},
    size=260,
)
