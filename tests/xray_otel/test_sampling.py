"""Sampled capture: what is always kept, and what estimates from the rest are worth."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest

import xray_otel as xray
from benchmarks import sampling
from tests.fixtures.otlp_receiver import Received
from xray_otel._capture import sample
from xray_otel._columns import Columns

REPLICATES = int(os.environ.get("XRAY_TEST_REPLICATES", "250"))
"""Samples that the figures rest on; 5,000 take a minute."""


def columns(count: int, verdict: str = "E", **given: Any) -> Columns:
    return Columns([f"i{number}" for number in range(count)], verdict * count, **given)


def kept(found: Columns) -> dict[str, float]:
    """The kept items with their probabilities."""
    assert found.probabilities is not None
    return dict(zip(found.items, found.probabilities, strict=True))


def test_estimates_from_samples_are_honest():
    """Over many samples totals and means have no bias, and intervals hold the truth as often as they say."""
    results = sampling.replicate(candidates=3_000, replicates=REPLICATES)
    for result in results:
        # By chance the mean of so many estimates is off by three of its errors once in 400 times.
        assert abs(result.bias) < 0.01 + 4 * result.bias_error, result
        if result.question in ("all values", "scores") and result.figure != "number":
            slack = 4 * (0.95 * 0.05 / REPLICATES) ** 0.5
            assert 0.93 - slack <= result.coverage <= min(1.0, 0.97 + slack), result


def test_the_weights_of_a_pair_add_up_to_its_exact_count():
    """Each pair of verdict and reason is represented by exactly as many decisions as it had."""
    reasons = [("rare", "often", None)[0 if at % 400 == 0 else 1 + at % 2] for at in range(2_000)]
    verdicts = "".join("K" if reason is None else "E" for reason in reasons)
    found = sample(Columns([f"i{at}" for at in range(2_000)], verdicts, list(reasons)), 20, "run")
    assert found.probabilities is not None
    assert found.reasons is not None
    weights: Counter[tuple[str, str | None]] = Counter()
    for letter, reason, probability in zip(found.verdicts, found.reasons, found.probabilities, strict=True):
        weights[letter, reason] += 1 / probability  # type: ignore[assignment]  # a Counter of floats
    for pair, count in Counter(zip(verdicts, reasons, strict=True)).items():
        assert weights[pair] == pytest.approx(count)
    assert found.reasons.count("rare") == 5


def test_the_one_in_a_hundred_thousand_is_kept(traced: Received):
    """A reason that occurs once keeps its example, and counts stay exact, in a step that is sent in parts."""
    with xray.run("r"), xray.step("s", type="filter", capture="sampled") as step:
        for number in range(100_000):
            step.reject(f"i{number}", "odd" if number == 77_777 else "usual", value=1.0, threshold=0.5)
    xray.flush(30)
    attributes = traced.step("s").attributes
    reasons = dict(zip(attributes["xray.reasons.codes"], attributes["xray.reasons.counts"], strict=True))
    assert reasons == {"usual": 99_999, "odd": 1}
    data = [
        json.loads(event.attributes["xray.decisions.data"]) for event in traced.events("xray.step.decisions")
    ]
    assert sum(chunk["n"] for chunk in data) < 1_000
    assert "i77777" in [item for chunk in data for item in chunk["item"]]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("one_limit", [True, False])
def test_borderline_decisions_are_kept(plain, one_limit):
    """The nearest to the threshold are kept for certain, however the columns came."""
    values = [float(number) for number in range(2_000)]
    limits = [1_000.0 + (0 if one_limit else at % 2) for at in range(2_000)]
    found = kept(sample(columns(2_000, values=values, thresholds=limits, plain=plain), 10, "run"))
    for number in (0, 1_999, *range(997, 1_004)):
        assert found[f"i{number}"] == 1.0
    assert sum(probability == 1.0 for probability in found.values()) == 12
    assert len(found) == 22


def test_missing_values_are_borderline():
    """Of decisions about candidates without a value some are always kept."""
    values: list[Any] = [xray.MISSING if at in (300, 700) else 5.0 for at in range(1_000)]
    found = kept(sample(columns(1_000, values=values, thresholds=[90.0] * 1_000), 10, "run"))
    assert found["i300"] == found["i700"] == 1.0


def test_selected_and_followed_items_are_kept():
    """A winner is always kept, and so is what the pipeline follows."""
    all_in = sample(columns(500, "W"), 10, "run")
    assert len(all_in) == 500
    found = kept(sample(columns(500), 10, "run", {"i321", "unknown"}))
    assert found["i321"] == 1.0
    assert len(found) == 13


def test_a_repeated_item_is_no_single_draw():
    """Decisions about one item are drawn one by one; else all of them would be in, or none."""
    found = sample(
        Columns(["same"] * 1_000, "E" * 1_000, values=[float(at) for at in range(1_000)]), 50, "run"
    )
    assert found.values is not None
    assert len(found) == 52
    assert max(found.values[1:-1]) > 500


def test_an_item_that_is_followed_is_kept_in_later_steps(traced: Received):
    """``follow`` holds for the step and for those after it in the run, and for no other run."""
    for name in ("first", "second"):
        with xray.run(name):
            for number in (1, 2):
                with xray.step(f"{name} {number}", type="filter", capture="sampled") as step:
                    if name == "first" and number == 1:
                        step.follow("i4321", {"id": "i1234"})
                    for at in range(5_000):
                        step.reject(f"i{at}", "no")
    xray.flush(10)
    by_step: dict[str, list[str]] = {}
    for event in traced.events("xray.step.decisions"):
        items = json.loads(event.attributes["xray.decisions.data"])["item"]
        by_step[str(event.attributes["xray.step.id"])] = items
    names = {str(s.attributes["xray.step.id"]): s.name for s in traced.spans("step")}
    both = {names[step]: {"i4321", "i1234"} <= set(items) for step, items in by_step.items()}
    assert both == {"first 1": True, "first 2": True, "second 1": False, "second 2": False}


def test_what_is_captured_is_said_from_general_to_special(traced: Received, otlp_receiver):
    """The call's own level wins, then the rule of the step, then that of the pipeline, then the setting."""
    rules = {"pipeline:checkout": "metrics_only", "step:price": "sampled"}
    xray.configure(
        endpoint=otlp_receiver.endpoint,
        mode="strict",
        capture="full",
        capture_rules=rules,  # type: ignore[arg-type]  # the words are known
        flush_interval_ms=20,
    )
    for pipeline in ("checkout", "search"):
        with xray.run(pipeline):
            for name, level in (("price", None), ("rank", None), ("price", "full")):
                with xray.step(name, capture=level):  # type: ignore[arg-type]  # likewise
                    pass
    xray.flush(10)
    found = [
        (span.attributes["xray.pipeline.name"], span.name, span.attributes["xray.capture.level"])
        for span in sorted(traced.spans("step"), key=lambda span: span.attributes["xray.step.index"])
    ]
    assert sorted(found) == sorted(
        [
            ("checkout", "price", "sampled"),
            ("checkout", "rank", "metrics_only"),
            ("checkout", "price", "full"),
            ("search", "price", "sampled"),
            ("search", "rank", "full"),
            ("search", "price", "full"),
        ]
    )


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("step:a=full", (("step:a", "full"),)),
        (" pipeline:x=y=sampled , step:a b=full,", (("pipeline:x=y", "sampled"), ("step:a b", "full"))),
    ],
)
def test_rules_from_the_environment(text, rules):
    """Rules are read from text; a name may hold an equals sign."""
    settings = xray.settings.Settings.from_env({"XRAY_CAPTURE_RULES": text})
    assert settings.capture_rules == rules


@pytest.mark.parametrize("text", ["full", "step:=full", "steps:a=full", "step:a=most", "step:a"])
def test_rules_that_make_no_sense_are_refused(text):
    """A rule that is none is named."""
    with pytest.raises(xray.SettingsError, match="XRAY_CAPTURE_RULES"):
        xray.settings.Settings.from_env({"XRAY_CAPTURE_RULES": text})
