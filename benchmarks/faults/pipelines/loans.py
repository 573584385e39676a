"""Which applications for a loan are approved without a person."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Budget, Check, Dedup, Enrich, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "loans",
    item={
        "source": pick(branch=3, web=5, broker=2),
        "applicant": whole(1, 1200),
        "age_years": whole(17, 80),
        "income": skewed(2600, 0.4),
        "asked": skewed(9000, 0.6),
        "debt": maybe(0.08, skewed(300, 1.0)),
        "late_payments": skewed(0.5, 0.9),
        "job_months": skewed(40, 1.0),
        "identified": flag(0.94),
    },
    query={"cut": normal(0.5, 0.03), "pot": normal(220_000, 15_000, 100_000, 400_000)},
    steps=(
        Search("applications", lambda i, q: True, ("income", "asked", "debt", "job_months")),
        Dedup("same_applicant", ("applicant",)),
        Check("identity", (Rule("identified", "==", 1.0, "not_identified"),)),
        Check("age", (Rule("age_years", ">=", 18, "too_young"), Rule("age_years", "<=", 74, "too_old"))),
        Check("income", (Rule("income", ">=", 1500.0, "income_too_low"),)),
        Enrich("instalment", "instalment", lambda i, q: i["asked"] / 48, raw="asked"),
        Enrich("burden", "burden", lambda i, q: min(1.0, (i["instalment"] + (i["debt"] or 0)) / i["income"])),
        Check("affordable", (Rule("burden", "<=", 0.42, "burden_too_high"),)),
        Check("debt_known", (Rule("debt", "<=", 1500.0, "debt_too_high", "debt_unknown"),)),
        Enrich("stability", "stable", lambda i, q: min(1.0, i["job_months"] / 60), raw="job_months"),
        Model("credit_model", "credit", {"stable": 2.0, "burden": -4.0, "late_payments": -0.9}, 0.9),
        Check("credit", (Rule("credit", ">=", lambda q: q["cut"], "credit_too_low"),)),
        TopK("best_first", "credit", 40),
        Budget("pot", "asked", lambda q: q["pot"]),
    ),
    shifted={"source": pick(branch=1, web=2, broker=6), "income": skewed(2200, 0.4)},
    size=220,
)
