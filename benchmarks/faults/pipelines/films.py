"""The row of films that a viewer is shown."""

from __future__ import annotations

from benchmarks.faults.fields import flag, maybe, normal, pick, skewed, whole
from benchmarks.faults.pipeline import Pipeline
from benchmarks.faults.steps import (
    Budget,
    Cap,
    Check,
    Dedup,
    Enrich,
    Judge,
    Label,
    Model,
    Rule,
    Search,
    Select,
    TopK,
)

PIPELINE = Pipeline(
    "films",
    item={
        "source": pick(similar=4, trending=3, new=2),
        "work": whole(1, 900),
        "genre": pick(drama=4, comedy=3, crime=3, documentary=1),
        "region_ok": flag(0.9),
        "min_age": pick(**{"0": 4, "12": 3, "16": 2}),
        "minutes": skewed(100, 0.25),
        "year": whole(1985, 2026),
        "quality_kbps": skewed(6000, 0.4),
        "licence_days": skewed(120, 1.2),
        "watched": flag(0.15),
        "taste": normal(0.5, 0.2),
        "stars": maybe(0.09, normal(3.6, 0.6, 1, 5)),
        "dark": normal(0.4, 0.2),
        "funny": normal(0.4, 0.2),
    },
    query={"max_minutes": whole(120, 170), "since": whole(1988, 1996)},
    steps=(
        Search(
            "candidates",
            lambda i, q: i["taste"] > 0.12,
            ("minutes", "quality_kbps", "licence_days", "taste", "stars"),
        ),
        Check("region", (Rule("region_ok", "==", 1.0, "not_in_region"),)),
        Check("licence", (Rule("licence_days", ">=", 14.0, "licence_ends"),)),
        Check("age", (Rule("min_age", "in", ("0", "12"), "age_limit"),)),
        Check("unwatched", (Rule("watched", "!=", 1.0, "watched"),)),
        Check("length", (Rule("minutes", "<=", lambda q: q["max_minutes"], "too_long"),)),
        Check("year", (Rule("year", ">=", lambda q: q["since"], "too_old"),)),
        Dedup("editions", ("work",)),
        Enrich("bitrate", "mbps", lambda i, q: i["quality_kbps"] / 1000, raw="quality_kbps"),
        Check("picture", (Rule("mbps", ">=", 3.0, "picture_poor"),)),
        Label("mood", "mood", {"dark": {"dark": 1.0}, "light": {"funny": 1.0}, "even": {"taste": 0.75}}),
        Enrich(
            "acclaim", "acclaim", lambda i, q: None if i["stars"] is None else i["stars"] / 5, raw="stars"
        ),
        Model("taste_model", "liking", {"taste": 4.0, "acclaim": 1.5}, -3.0, counts_failures=True),
        Check("liked", (Rule("liking", ">=", 0.35, "not_to_taste"),)),
        TopK("pool", "liking", 60),
        Judge("tone_judge", "tone", {"funny": 2.0, "dark": 1.5, "taste": 1.5}, -2.2),
        Check("tone", (Rule("tone", ">=", 0.35, "tone_wrong"),)),
        Cap("per_genre", "genre", 8),
        Budget("screen_time", "minutes", 1700.0),
        Select("billboard", "liking"),
    ),
    shifted={"genre": pick(drama=1, comedy=2, crime=2, documentary=5), "year": whole(1995, 2026)},
    size=320,
)
