"""The pipeline: keywords → search → three filters → rank → select, each a step of the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import xray_otel as xray
from examples.catalogue import Product
from examples.competitor_selection import keywords
from examples.competitor_selection.checks import Policy, price_check, quality_check, type_check
from examples.competitor_selection.scoring import WEIGHTS, competition
from examples.search_index import SearchIndex

PIPELINE = "competitor-selection"
VERSION = "v3"
SEARCH_LIMIT = 5_000
SHORTLIST = 20
SHOWN = 5
"""Of the shortlist, how many products are written out for the reader of the run."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a run found for a product; ``competitor`` is None when no candidate was left."""

    run_id: str
    product: Product
    competitor: Product | None
    score: float | None


def match(index: SearchIndex, product: Product, policy: Policy) -> Match:
    """Find the competitor of ``product`` in the indexed catalogue."""
    if product.price is None:
        raise ValueError(f"product {product.id} has no price to compare with")
    request = {"id": product.id, "title": product.title, "type": product.type, "price": product.price}
    with xray.run(PIPELINE, version=VERSION, entity=product.id, input=request) as run:
        candidates = _search(index, _keywords(product))
        candidates = _filter(product, candidates, policy)
        shortlist = _rank(index, product, candidates)
        best = _select(index, product, shortlist)
        score = None if best is None else competition(index, product, best)
        if best is None:
            run.outcome("no_match", reason="no candidate passed the checks")
        else:
            run.outcome("matched", reason=f"highest score of {len(shortlist)}")
            run.set_output({"id": best.id, "title": best.title, "type": best.type, "score": score})
        return Match(run.run_id, product, best, score)


def _keywords(product: Product) -> tuple[str, ...]:
    with xray.step("generate_keywords", type="llm", why="words that shops use for such a product") as step:
        step.model(keywords.MODEL, temperature=keywords.TEMPERATURE)
        step.set_input({"prompt": keywords.prompt(product)})
        generated = keywords.generate(product)
        step.set_output({"keywords": list(generated)})
        step.metric("keywords", len(generated))
        return generated


def _search(index: SearchIndex, terms: tuple[str, ...]) -> list[Product]:
    why = "broad on purpose: the filters decide"
    with xray.step("search_catalogue", type="search", why=why, top_k=SEARCH_LIMIT) as step:
        step.set_input({"terms": list(terms)})
        hits = index.search(terms, SEARCH_LIMIT)
        found = [hit.product for hit in hits]
        step.record(found, "kept", scores=[hit.weight for hit in hits])
        step.sources(Counter(product.supplier for product in found))
        step.fields(found, ["type", "price", "rating", "popularity"])
        return found


def _filter(product: Product, found: list[Product], policy: Policy) -> list[Product]:
    band = {"price": product.price, "low": policy.price_low, "high": policy.price_high}
    with xray.step("filter_by_price", type="filter", why="comparable price", reasoning=band) as step:
        step.reasons("price_too_low", "price_too_high", "price_unknown")
        found = step.filter(found, lambda candidate: price_check(product, candidate, policy))
    wanted = {"type": product.type}
    with xray.step("filter_by_type", type="filter", why="same type", reasoning=wanted) as step:
        step.reasons("type_differs", "type_matches", "type_unknown")
        found = step.filter(found, lambda candidate: type_check(product, candidate))
    quality = {"min_rating": policy.min_rating, "brand": product.brand}
    with xray.step("filter_by_quality", type="filter", why="worth watching", reasoning=quality) as step:
        step.reasons("own_brand", "out_of_stock", "rating_too_low", "rating_unknown")
        return step.filter(found, lambda candidate: quality_check(product, candidate, policy))


def _rank(index: SearchIndex, product: Product, candidates: list[Product]) -> list[Product]:
    why = "words, price and popularity, weighted"
    with xray.step("rank_by_competition", type="rank", why=why, reasoning={"weights": WEIGHTS}) as step:
        ranked = step.rank(candidates, score=lambda item: competition(index, product, item), top_k=SHORTLIST)
        first = [
            {"id": item.id, "title": item.title, "type": item.type, "price": item.price} for item in ranked
        ]
        step.set_output({"first": first[:SHOWN]})
        return ranked


def _select(index: SearchIndex, product: Product, shortlist: list[Product]) -> Product | None:
    with xray.step("select_competitor", type="select", why="the highest score wins") as step:
        return step.select_best(shortlist, score=lambda item: competition(index, product, item))
