"""Finds the competitor of a product in a catalogue."""

from __future__ import annotations

import xray_otel as xray
from examples import catalogue
from examples.catalogue import Product


def find_competitor(products: tuple[Product, ...], product: Product) -> Product | None:
    with xray.run(
        "competitor-selection", version="v1", entity=product.id, input={"title": product.title}
    ) as run:
        terms = generate_keywords(product)
        found = search(products, terms)
        found = filter_by_price(product, found)
        found = filter_by_rating(found)
        found = filter_by_brand(product, found)
        best = choose(product, rank(product, found))
        run.outcome("matched" if best else "no_match")
        return best


@xray.step(type="llm", why="words that shops use")
def generate_keywords(product: Product) -> list[str]:
    words = product.title.lower().split()
    return [word for word in words if len(word) > 3]


@xray.step(type="search", why="any of the words")
def search(products: tuple[Product, ...], terms: list[str]) -> list[Product]:
    found = [product for product in products if any(term in product.title.lower() for term in terms)]
    xray.current_step().set_input({"terms": terms})
    xray.current_step().record(found, "kept")
    return found


@xray.step(type="filter", why="comparable price")
def filter_by_price(product: Product, found: list[Product]) -> list[Product]:
    wanted = product.price or 0.0
    kept = []
    step = xray.current_step()
    for candidate in found:
        if candidate.price is None:
            step.reject(candidate, "price_unknown", value=xray.MISSING)
            continue
        if candidate.price < 0.5 * wanted or candidate.price > 2.0 * wanted:
            step.reject(candidate, "price_differs", value=candidate.price, threshold=wanted)
            continue
        kept.append(candidate)
        step.accept(candidate, value=candidate.price)
    return kept


@xray.step(type="filter", why="worth watching")
def filter_by_rating(found: list[Product]) -> list[Product]:
    def good(candidate: Product) -> bool:
        return (candidate.rating or 0.0) >= 3.8

    return xray.current_step().filter(
        found, good, value=lambda c: c.rating, threshold=3.8, reason="rating_too_low"
    )


@xray.step(type="filter", why="another maker")
def filter_by_brand(product: Product, found: list[Product]) -> list[Product]:
    return xray.current_step().filter(
        found, lambda candidate: candidate.brand != product.brand, reason="own_brand"
    )


@xray.step(type="rank", top_k=10)
def rank(product: Product, found: list[Product]) -> list[Product]:
    return xray.current_step().rank(found, score=lambda candidate: likeness(product, candidate), top_k=10)


@xray.step(type="select", why="the most alike")
def choose(product: Product, best: list[Product]) -> Product | None:
    return xray.current_step().select_best(best, score=lambda candidate: likeness(product, candidate))


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
