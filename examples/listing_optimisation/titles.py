"""
Title variants of a product, the policy they must keep, and how they are scored.

The variants come from templates that stand in for a language model, so that the example
runs offline and gives the same answer every time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import xray_otel as xray
from examples.catalogue import Product, words

MODEL = "title-templates-2"
TEMPERATURE = 0.0
MAX_LENGTH = 80
GOOD_LENGTH = 60

CLAIMS = ("", "Premium Quality", "Best in Class", "100% Original", "No 1 Choice")
FORBIDDEN = ("best", "100%", "no 1")
ADDITIONS = ("", "New", "Gift Idea")


@dataclass(frozen=True, slots=True)
class Title:
    """A variant; its id is its number among the variants of one run."""

    id: str
    text: str


def variants(product: Product) -> Iterator[Title]:
    """Every order of the title's parts, with and without claims, additions and capitals."""
    name, _, colour = product.title.partition(" - ")
    orders = ((name, colour), (colour, name), (name, "in", colour))
    shapes = itertools.product(orders, CLAIMS, ADDITIONS, (False, True))
    for number, (order, claim, addition, capitals) in enumerate(shapes, start=1):
        text = " ".join(part for part in (addition, *order, claim) if part)
        yield Title(f"T{number:03d}", text.upper() if capitals else text)


def policy_check(title: Title, product: Product) -> bool | xray.Reject:
    """The shop's rules for titles, the cheapest first; the first broken one is the reason."""
    text = title.text
    if len(text) > MAX_LENGTH:
        return xray.Reject("too_long", value=len(text), threshold=MAX_LENGTH)
    if text.isupper():
        return xray.Reject("shouting", text="all capitals")
    claim = next((claim for claim in FORBIDDEN if claim in text.lower()), None)
    if claim is not None:
        return xray.Reject("forbidden_claim", value=claim)
    if product.brand is None:
        return xray.Reject("brand_unknown", value=xray.MISSING)
    repeated = [word for word, count in Counter(words(text)).items() if count > 1 and word.isalpha()]
    return xray.Reject("repeated_word", value=repeated[0]) if repeated else True


def readability(title: Title, product: Product) -> float:
    """0 to 1: near the good length, the brand early, few words that the product does not have."""
    length = max(0.0, 1 - abs(len(title.text) - GOOD_LENGTH) / GOOD_LENGTH)
    place = title.text.lower().find((product.brand or "").lower())
    early = 1 - max(0, place) / MAX_LENGTH
    own = set(words(product.title))
    used = words(title.text)
    relevant = sum(word in own for word in used) / len(used)
    return round(0.4 * length + 0.2 * early + 0.4 * relevant, 6)
