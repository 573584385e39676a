"""The first page of a news feed."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import Cap, Check, Dedup, Enrich, Judge, Model, Rule, Search, TopK

PIPELINE = Pipeline(
    "feed",
    item={
        "source": pick(followed=5, similar=4, paid=1),
        "topic": pick(news=4, sport=3, music=2, local=2),
        "author": whole(1, 40),
        "story": whole(1, 800),
        "posted_hour": whole(0, 23),
        "hours_old": skewed(14, 0.9),
        "muted": flag(0.05),
        "seen": flag(0.2),
        "language": pick(en=7, es=2, xx=0.5),
        "likes": skewed(40, 1.4),
        "closeness": normal(0.4, 0.2),
        "interest": normal(0.5, 0.2),
        "clickbait": maybe(0.06, normal(0.3, 0.18)),
    },
    query={"max_hours": whole(36, 60), "topic": pick(news=3, sport=3, music=2, local=1)},
    steps=(
        Search(
            "gather",
            lambda i, q: i["interest"] > 0.1,
            ("hours_old", "likes", "closeness", "interest", "clickbait"),
        ),
        Check("not_muted", (Rule("muted", "!=", 1.0, "muted"),)),
        Check("unseen", (Rule("seen", "!=", 1.0, "seen"),)),
        Check("language", (Rule("language", "in", ("en", "es"), "language_foreign"),)),
        Check("recent", (Rule("hours_old", "<=", lambda q: q["max_hours"], "too_old"),)),
        Check("waking_hours", (Rule("posted_hour", ">=", 4, "at_night"),)),
        Dedup("stories", ("story",)),
        Enrich("freshness", "fresh", lambda i, q: 1 / (1 + i["hours_old"] / 12), raw="hours_old"),
        Enrich("popularity", "popular", lambda i, q: min(1.0, i["likes"] / 300), raw="likes"),
        Model("light_ranker", "light", {"interest": 3.0, "closeness": 2.0, "popular": 1.0}, -2.6),
        TopK("first_cut", "light", 70),
        Judge("clickbait_judge", "bait", {"clickbait": 5.0, "popular": 0.5}, -3.0, counts_failures=True),
        Check("no_bait", (Rule("bait", "<=", 0.45, "clickbait"),)),
        Model(
            "heavy_ranker",
            "heavy",
            {"interest": 2.5, "closeness": 2.0, "fresh": 2.0, "popular": 1.0},
            -3.6,
            0.1,
        ),
        Check("worth_it", (Rule("heavy", ">=", 0.3, "not_interesting"),)),
        Cap("per_author", "author", 3),
        Cap("per_topic", "topic", 12),
        TopK("page", "heavy", 20),
    ),
    shifted={"topic": pick(news=1, sport=2, music=5, local=3), "hours_old": skewed(20, 0.9)},
    size=300,
)
