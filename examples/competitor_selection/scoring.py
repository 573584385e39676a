"""How much a candidate competes with a product."""

from __future__ import annotations

import math

from examples.catalogue import Product
from examples.search_index import SearchIndex

WEIGHTS = {"words": 0.6, "price": 0.25, "popularity": 0.15}


def competition(index: SearchIndex, product: Product, candidate: Product) -> float:
    """0 to 1: same words, near in price, often viewed. No price counts as far, no popularity as medium."""
    parts = {
        "words": index.similarity(product, candidate),
        "price": _nearness(product.price, candidate.price),
        "popularity": _popularity(candidate.popularity),
    }
    return round(sum(weight * parts[name] for name, weight in WEIGHTS.items()), 6)


def _nearness(price: float | None, other: float | None) -> float:
    if not price or not other:
        return 0.0
    return min(price, other) / max(price, other)


def _popularity(views: int | None) -> float:
    """Logarithmic: 0 for none, 1 from 10,000 views on."""
    return 0.5 if views is None else min(1.0, math.log10(1 + views) / 4)
