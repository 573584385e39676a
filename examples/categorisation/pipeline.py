"""The pipeline: categories that share a word → drop the implausible → rank by evidence → assign or defer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import xray_otel as xray
from examples.catalogue import Product, words
from examples.categorisation.tree import Category

PIPELINE = "categorisation"
VERSION = "v2"
MIN_SCORE = 0.35
"""A category that explains less of the title than this is left to a person."""
SHORTLIST = 3


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a product goes; ``category`` is None when a person has to decide."""

    run_id: str
    product: Product
    category: str | None


def categorise(product: Product, categories: Sequence[Category]) -> Assignment:
    """Assign ``product`` to one of ``categories``."""
    with xray.run(PIPELINE, version=VERSION, entity=product.id, input={"title": product.title}) as run:
        shortlist = _rank(product, _plausible(product, _candidates(product, categories)))
        category = _assign(product, shortlist)
        run.outcome("assigned" if category else "needs_review")
        run.set_output({"category": category.id if category else None})
        return Assignment(run.run_id, product, category.id if category else None)


def evidence(product: Product, category: Category) -> float:
    """Overlap of the title's words and the category's: 0 to 1."""
    title = frozenset(words(product.title)) - frozenset(words(product.brand or ""))
    return round(len(title & category.words) / len(title | category.words), 6)


def plausible(product: Product, category: Category) -> bool | xray.Reject:
    """True unless price, device or a detail that the category's titles state speaks against it."""
    title = product.title.lower()
    if product.price is None:
        return xray.Reject("price_unknown", value=xray.MISSING)
    if not category.low - 1 <= product.price <= category.high:
        return xray.Reject("price_implausible", value=product.price, threshold=category.high)
    if category.device and category.device.lower() not in title:
        return xray.Reject("other_device", threshold=category.device)
    if category.required and not re.search(category.required, title):
        return xray.Reject("detail_missing", value=xray.MISSING, threshold=category.required)
    missing = category.words - frozenset(words(title))
    return xray.Reject("word_missing", value=min(missing)) if missing else True


def _candidates(product: Product, categories: Sequence[Category]) -> list[Category]:
    with xray.step("search_categories", type="search", why="any category that shares a word") as step:
        step.set_input({"title": product.title})
        found = [category for category in categories if category.words & frozenset(words(product.title))]
        step.counts(in_=len(categories), out=len(found))
        return found


def _plausible(product: Product, categories: list[Category]) -> list[Category]:
    with xray.step("filter_by_attributes", type="filter", why="price, device and details must fit") as step:
        step.reasons("price_unknown", "price_implausible", "other_device", "detail_missing", "word_missing")
        return step.filter(categories, lambda category: plausible(product, category))


def _rank(product: Product, categories: list[Category]) -> list[Category]:
    with xray.step("rank_by_evidence", type="rank", why="share of the title that it explains") as step:
        return step.rank(categories, score=lambda category: evidence(product, category), top_k=SHORTLIST)


def _assign(product: Product, shortlist: list[Category]) -> Category | None:
    with xray.step("assign_category", type="select", why="the best, if it explains enough") as step:
        step.set_reasoning({"min_score": MIN_SCORE})
        for rank, category in enumerate(shortlist):
            score = evidence(product, category)
            if rank > 0:
                step.not_select(category, "lower_score", score=score)
            elif score < MIN_SCORE:
                step.defer(category, "too_little_evidence", score=score, value=score, threshold=MIN_SCORE)
            else:
                step.select(category, "best_evidence", score=score, value=score, threshold=MIN_SCORE)
        return shortlist[0] if shortlist and evidence(product, shortlist[0]) >= MIN_SCORE else None
