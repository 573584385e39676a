"""
The catalogue that the example pipelines work on: generated from a seed, or read from a file.

A catalogue is a tuple of products in id order. Gaps are part of it: some products have no
brand, rating or popularity, and listings from a file may lack a type, because their
category path ends before the level that names one.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from examples.vocabulary import BRANDS, COLOURS, DEVICES, KINDS, SUPPLIERS, Kind

DEFAULT_SIZE = 6_000

TYPE_BY_CATEGORY = (
    ("case", "phone_case"), ("screen protector", "screen_protector"), ("cable", "cable"),
    ("charger", "charger"), ("charging", "charger"), ("power bank", "power_bank"),
    ("headphone", "headphones"), ("headset", "headphones"), ("mount", "mount"),
    ("laptop stand", "laptop_stand"), ("laptop sleeve", "laptop_sleeve"), ("band", "watch_band"),
    ("tracker", "tracker"), ("sim card", "sim_card"), ("prepaid minutes", "airtime"),
    ("hotspot", "hotspot"), ("unlocked", "phone"), ("prepaid phone", "phone"),
    ("phones with plans", "phone"), ("refurbished phone", "phone"),
)  # fmt: skip
"""Words of a category and the type they name; the first that matches decides."""


class CatalogueError(Exception):
    """A catalogue file that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Product:
    """One thing for sale. None means that the catalogue does not know."""

    id: str
    title: str
    brand: str | None
    type: str | None
    categories: tuple[str, ...]
    price: float | None
    rating: float | None
    """Mean of the customers' stars, 1 to 5."""
    popularity: int | None
    """Units viewed in the last month."""
    in_stock: bool
    supplier: str


def generate(seed: int = 7, size: int = DEFAULT_SIZE) -> tuple[Product, ...]:
    """``size`` products and the few fixed ones of ``_flagships``; the same for the same arguments."""
    rng = random.Random(seed)
    kinds = rng.choices(KINDS, weights=[kind.share for kind in KINDS], k=size)
    made = [_product(f"G{number:05d}", kind, rng) for number, kind in enumerate(kinds, start=1)]
    return (*_flagships(), *made)


def load(path: Path) -> tuple[Product, ...]:
    """
    Read listings: a JSON array of objects with name, brand, categories, price and popularity.

    Everything but the name may be absent. Raises ``CatalogueError``.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} cannot be read as a catalogue: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise CatalogueError(f"{path} must hold a JSON array of at least one product")
    return tuple(_listing(path, position, entry) for position, entry in enumerate(entries))


def product_type(categories: Iterable[str]) -> str | None:
    """The type that a category path names, looking from its leaf to its root; None when no level does."""
    for category in reversed(tuple(categories)):
        lowered = category.lower()
        for word, type_name in TYPE_BY_CATEGORY:
            if word in lowered:
                return type_name
    return None


def without_types(products: Iterable[Product], supplier: str) -> tuple[Product, ...]:
    """The same catalogue after ``supplier`` has delivered a feed whose category paths stop at the root."""

    def delivered(product: Product) -> Product:
        return replace(product, type=None, categories=product.categories[:1])

    return tuple(delivered(product) if product.supplier == supplier else product for product in products)


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text in order, without those of a single letter."""
    return tuple(word for word in re.findall(r"[a-z0-9]+", text.lower()) if len(word) > 1 or word.isdigit())


def _product(product_id: str, kind: Kind, rng: random.Random) -> Product:
    features = rng.sample(kind.features, k=rng.choice((1, 1, 2)))
    ending = rng.choice(kind.endings).format(device=rng.choice(DEVICES))
    brand = rng.choice(BRANDS)
    parts = (brand, *features, rng.choice(kind.nouns), ending, "-", rng.choice(COLOURS))
    # Most prices lie near the cheap end, as in a shop: the square of a uniform number.
    price = kind.low + (kind.high - kind.low) * rng.random() ** 2
    return Product(
        id=product_id,
        title=" ".join(part for part in parts if part),
        brand=None if rng.random() < 0.02 else brand,
        type=product_type(kind.path),
        categories=kind.path,
        price=round(price) - 0.01,
        rating=None if rng.random() < 0.06 else round(min(5.0, max(1.0, rng.gauss(4.0, 0.5))), 1),
        popularity=None if rng.random() < 0.04 else int(rng.paretovariate(1.2) * 40),
        in_stock=rng.random() < 0.93,
        supplier=rng.choice(SUPPLIERS),
    )


def _flagships() -> tuple[Product, ...]:
    """
    Products that are in the catalogue whatever the seed.

    A phone case, its true competitor, and a laptop stand that comes with a case: close in
    words and price, which is no problem as long as the catalogue knows what each of them is.
    """
    return (
        _flagship(
            "G00000A", "Orvane Adjustable Aluminium Kickstand Case - Graphite", "phone_case", 34.99, 2100, 0
        ),
        _flagship("G00000B", "Corvia Aluminium Kickstand Case - Silver", "phone_case", 38.99, 1900, 2),
        _flagship(
            "G00000C",
            "Kestrel Adjustable Aluminium Laptop Kickstand with Case - Graphite",
            "laptop_stand",
            35.99,
            2600,
            1,
        ),
    )


def _flagship(
    product_id: str, title: str, type_name: str, price: float, popularity: int, supplier: int
) -> Product:
    path = next(kind.path for kind in KINDS if kind.type == type_name)
    return Product(
        id=product_id,
        title=title,
        brand=title.split()[0],
        type=product_type(path),
        categories=path,
        price=price,
        rating=4.5,
        popularity=popularity,
        in_stock=True,
        supplier=SUPPLIERS[supplier],
    )


def _listing(path: Path, position: int, entry: Any) -> Product:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise CatalogueError(f"{path}: entry {position} is no object with a name")
    categories = tuple(str(category) for category in entry.get("categories") or ())
    brand = entry.get("brand") or None
    return Product(
        id=str(entry.get("id") or f"L{position:05d}"),
        title=entry["name"],
        brand=brand,
        type=product_type(categories),
        categories=categories,
        price=_number(entry.get("price")),
        rating=_number(entry.get("rating")),
        popularity=None if (popularity := _number(entry.get("popularity"))) is None else int(popularity),
        in_stock=bool(entry.get("in_stock", True)),
        # Listings do not name their supplier: a few feeds by brand, the same in every run.
        supplier=f"feed-{zlib.crc32(str(brand).encode()) % 8}",
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
