"""
The checks that a candidate must pass. Each returns True, or why the candidate is out.

``xray.Reject`` and ``xray.Accept`` are values that ``step.filter`` understands; they carry
the reason, the observed value and the limit it was held against.
"""

from __future__ import annotations

from dataclasses import dataclass

import xray_otel as xray
from examples.catalogue import Product

Verdict = bool | xray.Reject | xray.Accept


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as comparable."""

    price_low: float = 0.6
    """Lowest price of a candidate, as a multiple of the product's."""
    price_high: float = 1.6
    min_rating: float | None = 3.8
    """None for catalogues without ratings: the check does not apply."""


def price_check(product: Product, candidate: Product, policy: Policy) -> Verdict:
    """A candidate without a price cannot be compared; others must lie within the band."""
    if candidate.price is None:
        return xray.Reject("price_unknown", value=xray.MISSING)
    assert product.price is not None  # the pipeline refuses products without a price
    low, high = product.price * policy.price_low, product.price * policy.price_high
    if candidate.price < low:
        return xray.Reject("price_too_low", value=candidate.price, threshold=round(low, 2))
    if candidate.price > high:
        return xray.Reject("price_too_high", value=candidate.price, threshold=round(high, 2))
    return xray.Accept("price_in_band", value=candidate.price)


def type_check(product: Product, candidate: Product) -> Verdict:
    """A candidate must be of the product's type."""
    if candidate.type and candidate.type != product.type:
        return xray.Reject("type_differs", value=candidate.type, threshold=product.type)
    if not candidate.type:
        return xray.Accept("type_unknown", value=xray.MISSING, threshold=product.type)
    return xray.Accept("type_matches", value=candidate.type, threshold=product.type)


def quality_check(product: Product, candidate: Product, policy: Policy) -> Verdict:
    """A candidate must be another brand's, in stock, and well rated."""
    if candidate.id == product.id or (candidate.brand and candidate.brand == product.brand):
        return xray.Reject("own_brand", value=candidate.brand)
    if not candidate.in_stock:
        return xray.Reject("out_of_stock", value=False)
    if policy.min_rating is None:
        return True
    if candidate.rating is None:
        return xray.Reject("rating_unknown", value=xray.MISSING, threshold=policy.min_rating)
    if candidate.rating < policy.min_rating:
        return xray.Reject("rating_too_low", value=candidate.rating, threshold=policy.min_rating)
    return xray.Accept("rating_high_enough", value=candidate.rating, threshold=policy.min_rating)
