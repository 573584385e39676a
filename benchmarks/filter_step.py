"""
The step that ``capture_cost`` measures: a filter 5,000 → 30, bare and recorded in each way.

Every candidate has a 12-character id, a price (the observed value, one threshold for all) and
a score, which models do not round. Six rules remove candidates, each with a reason code of its own; which
candidates break which rule is drawn from a seed.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import xray_otel as xray
from xray_otel.settings import Capture

CANDIDATES = 5_000
KEPT = 30
SEED = 20_261_121
MAX_PRICE = 50.0
MIN_RATING = 3.5
MIN_REVIEWS = 20
CATEGORY = "phone-cases"

LEVELS: tuple[Capture, ...] = ("metrics_only", "sampled", "full")
FLUSH_S = 20.0

_ID_LENGTH = 12
_ID_LETTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True)
class Product:
    """A candidate."""

    id: str
    category: str
    price: float
    rating: float
    reviews: int
    in_stock: bool
    bundle: bool
    score: float
    """Similarity, 0 to 1."""


Products = Sequence[Product]
Way = Callable[[xray.Step, Products], list[Product]]
"""Filters products and records it in a step; returns the kept ones."""


def catalogue(seed: int, score_digits: int) -> list[Product]:
    """Products of which ``KEPT`` pass all rules and each other breaks one; equal seeds, equal products."""
    random_ = random.Random(seed)
    products = [_passing(random_, score_digits) for _ in range(CANDIDATES)]
    for at in random_.sample(range(CANDIDATES), CANDIDATES - KEPT):
        products[at] = _broken(random_, products[at])
    return products


def _passing(random_: random.Random, score_digits: int) -> Product:
    return Product(
        id="".join(random_.choices(_ID_LETTERS, k=_ID_LENGTH)),
        category=CATEGORY,
        price=round(random_.uniform(5, MAX_PRICE), 2),
        rating=round(random_.uniform(MIN_RATING, 5), 1),
        reviews=random_.randint(MIN_REVIEWS, 5_000),
        in_stock=True,
        bundle=False,
        score=round(random_.random(), score_digits),
    )


def _broken(random_: random.Random, product: Product) -> Product:
    rule = random_.choices(range(6), weights=(40, 25, 15, 10, 7, 3))[0]
    match rule:
        case 0:
            return replace(product, category="laptop-stands")
        case 1:
            return replace(product, price=round(random_.uniform(MAX_PRICE + 0.01, 400), 2))
        case 2:
            return replace(product, rating=round(random_.uniform(1, MIN_RATING - 0.1), 1))
        case 3:
            return replace(product, reviews=random_.randrange(MIN_REVIEWS))
        case 4:
            return replace(product, in_stock=False)
        case _:
            return replace(product, bundle=True)


def broken_rule(product: Product) -> str | None:
    """The reason code of the first rule that the product breaks, None when it passes."""
    if product.category != CATEGORY:
        return "other_category"
    if product.price > MAX_PRICE:
        return "price_too_high"
    if product.rating < MIN_RATING:
        return "rating_too_low"
    if product.reviews < MIN_REVIEWS:
        return "too_few_reviews"
    if not product.in_stock:
        return "out_of_stock"
    if product.bundle:
        return "is_a_bundle"
    return None


def bare(products: Products) -> list[Product]:
    """The filter without X-Ray."""
    kept = []
    for product in products:
        if broken_rule(product) is None:
            kept.append(product)  # noqa: PERF401 - the loop that the other ways add a line to
    return kept


def counts(step: xray.Step, products: Products) -> list[Product]:
    """Two numbers for the whole step."""
    kept = bare(products)
    step.counts(in_=len(products), out=len(kept))
    return kept


def one_by_one(step: xray.Step, products: Products) -> list[Product]:
    """A call per candidate."""
    kept = []
    for product in products:
        code = broken_rule(product)
        if code is None:
            kept.append(product)
            step.accept(product.id, score=product.score, value=product.price, threshold=MAX_PRICE)
        else:
            step.reject(product.id, code, score=product.score, value=product.price, threshold=MAX_PRICE)
    return kept


def in_bulk(step: xray.Step, products: Products) -> list[Product]:
    """Columns, gathered by the pipeline (which is part of the cost) and handed over in one call."""
    kept, codes = [], []
    for product in products:
        code = broken_rule(product)
        codes.append(code)
        if code is None:
            kept.append(product)
    step.record(
        [product.id for product in products],
        ["K" if code is None else "E" for code in codes],
        reasons=codes,
        scores=[product.score for product in products],
        values=[product.price for product in products],
        thresholds=MAX_PRICE,
    )
    return kept


def by_helper(step: xray.Step, products: Products) -> list[Product]:
    """The helper that filters and records; the predicate returns why."""
    return step.filter(products, _outcome)


def _outcome(product: Product) -> xray.Accept | xray.Reject:
    code = broken_rule(product)
    if code is None:
        return xray.Accept(score=product.score, value=product.price, threshold=MAX_PRICE)
    return xray.Reject(code, score=product.score, value=product.price, threshold=MAX_PRICE)


WAYS: dict[str, Way] = {"accept/reject": one_by_one, "record": in_bulk, "filter": by_helper}
"""Ways to record each candidate, by the method of a step."""


def captured(way: Way, level: Capture, products: Sequence[Product]) -> list[Product]:
    """The measured step, from opening to the end of its ``with``."""
    with xray.step(
        "filter_by_rules",
        type="filter",
        why="only offers that can be compared",
        reasoning={"max_price": MAX_PRICE},
        capture=level,
    ) as step:
        return way(step, products)


def settle() -> None:
    """Wait until the collector has acknowledged what was recorded."""
    if not xray.flush(FLUSH_S):
        raise SystemExit(f"the collector did not acknowledge within {FLUSH_S:g} s")
