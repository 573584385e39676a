"""Finds the competitor of a product in a catalogue."""

from __future__ import annotations

from examples import catalogue
from examples.catalogue import Product


def find_competitor(products: tuple[Product, ...], product: Product) -> Product | None:
    terms = generate_keywords(product)
    found = search(products, terms)
    found = filter_by_price(product, found)
    found = filter_by_rating(found)
    found = filter_by_brand(product, found)
    best = rank(product, found)
    return choose(product, best)


def generate_keywords(product: Product) -> list[str]:
    words = product.title.lower().split()
    return [word for word in words if len(word) > 3]


def search(products: tuple[Product, ...], terms: list[str]) -> list[Product]:
    return [product for product in products if any(term in product.title.lower() for term in terms)]


def filter_by_price(product: Product, found: list[Product]) -> list[Product]:
    wanted = product.price or 0.0
    kept = []
    for candidate in found:
        if candidate.price is None:
            continue
        if candidate.price < 0.5 * wanted or candidate.price > 2.0 * wanted:
            continue
        kept.append(candidate)
    return kept


def filter_by_rating(found: list[Product]) -> list[Product]:
    return [candidate for candidate in found if (candidate.rating or 0.0) >= 3.8]


def filter_by_brand(product: Product, found: list[Product]) -> list[Product]:
    return [candidate for candidate in found if candidate.brand != product.brand]


def rank(product: Product, found: list[Product]) -> list[Product]:
    return sorted(found, key=lambda candidate: likeness(product, candidate), reverse=True)[:10]


def choose(product: Product, best: list[Product]) -> Product | None:
    return max(best, key=lambda candidate: likeness(product, candidate), default=None)


def likeness(product: Product, candidate: Product) -> float:
    ours, theirs = set(product.title.lower().split()), set(candidate.title.lower().split())
    return len(ours & theirs) / len(ours | theirs)


def main() -> None:
    products = catalogue.generate(size=500)
    for product in products[:3]:
        competitor = find_competitor(products, product)
        print(product.title, "→", competitor.title if competitor else "nobody")


if __name__ == "__main__":
    main()
