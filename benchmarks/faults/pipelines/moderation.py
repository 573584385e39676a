"""Which posts of a batch may be shown."""

from __future__ import annotations

from benchmarks.faults.fields import by, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Check, Dedup, Enrich, Judge, Label, Model, Rule, Search

PIPELINE = Pipeline(
    "moderation",
    item={
        "kind": pick(text=6, image=3, link=1),
        "source": pick(app=5, web=3, partner=1),
        "language": pick(en=6, de=3, fr=2, xx=0.4),
        "toxicity": by(
            "kind", {"text": normal(0.2, 0.15), "image": normal(0.3, 0.2), "link": normal(0.4, 0.2)}
        ),
        "spamminess": normal(0.25, 0.2),
        "reports": skewed(0.6, 1.0),
        "author_days": skewed(200, 1.2),
        "text_hash": whole(1, 900),
    },
    query={"strictness": normal(0.6, 0.05)},
    steps=(
        Search("collect", lambda i, q: True, ("toxicity", "spamminess", "author_days")),
        Check("language", (Rule("language", "in", ("en", "de", "fr"), "language_unknown"),)),
        Dedup("repeated", ("text_hash",)),
        Enrich("trust", "trust", lambda i, q: min(1.0, i["author_days"] / 365), raw="author_days"),
        Model("spam_model", "spam", {"spamminess": 6.0, "trust": -1.5}, -2.5, counts_failures=True),
        Check("spam", (Rule("spam", "<=", 0.6, "spam"),)),
        Label(
            "topic",
            "topic",
            {
                "harm": {"toxicity": 2.0, "reports": 0.2},
                "plain": {"trust": 0.8},
                "advert": {"spamminess": 1.4},
            },
        ),
        Judge("harm_judge", "harm", {"toxicity": 6.0, "reports": 0.5, "trust": -0.8}, -2.6),
        Check("harm", (Rule("harm", "<=", lambda q: q["strictness"], "harmful"),)),
    ),
    shifted={"kind": pick(text=3, image=5, link=2)},
)
