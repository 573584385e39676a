"""An inverted index over a catalogue, as a shop's search would keep one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from examples.catalogue import Product, words


class Hit(NamedTuple):
    """A product that a search found, with the weight of the words that matched."""

    product: Product
    weight: float


class SearchIndex:
    """
    Finds products by words of their title and categories; built once, then only read.

    A word weighs the more the fewer products have it: ln(1 + n / n_word).
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = products
        self._positions: dict[str, list[int]] = defaultdict(list)
        self._title_words = [frozenset(words(product.title)) for product in products]
        for position, product in enumerate(products):
            for word in self._title_words[position].union(words(" ".join(product.categories))):
                self._positions[word].append(position)
        self._by_id = {product.id: position for position, product in enumerate(products)}

    def weight(self, word: str) -> float:
        """The weight of a word; an unknown word weighs as one that a single product has."""
        return math.log(1 + len(self.products) / max(1, len(self._positions.get(word, ()))))

    def title_words(self, product: Product) -> frozenset[str]:
        """The words of an indexed product's title."""
        return self._title_words[self._by_id[product.id]]

    def search(self, terms: Iterable[str], limit: int) -> list[Hit]:
        """Products that have any of the terms: heaviest first, ties by id, at most ``limit``."""
        weights: defaultdict[int, float] = defaultdict(float)
        for term in sorted(set(terms)):
            for position in self._positions.get(term, ()):
                weights[position] += self.weight(term)
        hits = [Hit(self.products[position], weight) for position, weight in weights.items()]
        hits.sort(key=lambda hit: (-hit.weight, hit.product.id))
        return hits[:limit]

    def similarity(self, left: Product, right: Product) -> float:
        """Weighted overlap of two titles without their brands: 0 (no word in common) to 1 (the same)."""
        a = self.title_words(left) - frozenset(words(left.brand or ""))
        b = self.title_words(right) - frozenset(words(right.brand or ""))
        # Sorted, because the sum of floats depends on its order and that of a set on the process.
        common = sum(self.weight(word) for word in sorted(a & b))
        every = sum(self.weight(word) for word in sorted(a | b))
        return common / every if every else 0.0
