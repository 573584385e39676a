"""The catalogue of the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.catalogue import CatalogueError, generate, load, product_type, without_types


def test_same_seed_same_catalogue() -> None:
    """A seed names one catalogue; another seed names another."""
    assert generate(3, 500) == generate(3, 500)
    assert generate(3, 500) != generate(4, 500)


def test_catalogue_is_large_and_has_gaps() -> None:
    """At least 5,000 products of many types, in id order, some without brand, rating or popularity."""
    products = generate(7)
    assert len(products) >= 5_000
    assert [product.id for product in products] == sorted({product.id for product in products})
    assert len({product.type for product in products}) >= 8
    for gap in ("brand", "rating", "popularity"):
        missing = sum(getattr(product, gap) is None for product in products)
        assert 0 < missing < len(products) / 10
    assert all(product.type for product in products)


def test_feed_without_types_changes_one_supplier() -> None:
    """A feed without types takes the types of its supplier's products and leaves everything else."""
    products = generate(7, 500)
    damaged = without_types(products, "Halden Wholesale")
    for before, after in zip(products, damaged, strict=True):
        assert after.type == (None if before.supplier == "Halden Wholesale" else before.type)
        assert (after.id, after.title, after.price) == (before.id, before.title, before.price)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (["Cell Phones", "Cell Phone Accessories", "Cell Phone Cases & Clips"], "phone_case"),
        (["Cell Phones", "Unlocked Cell Phones", "All Unlocked Cell Phones"], "phone"),
        (["Cell Phones", "Cell Phone Accessories"], None),
        ([], None),
    ],
)
def test_type_comes_from_category_path(path: list[str], expected: str | None) -> None:
    """The level nearest the leaf that names a type decides; a path that ends early names none."""
    assert product_type(path) == expected


def test_listings_may_have_gaps(tmp_path: Path) -> None:
    """A listing needs a name only; what is absent stays unknown."""
    file = tmp_path / "listings.json"
    full = {
        "id": "P1",
        "name": "Some Case - Red",
        "brand": "Some",
        "categories": ["Phones", "Cases"],
        "price": 10,
        "popularity": 5,
    }
    file.write_text(json.dumps([full, {"name": "Bare"}, {"name": "Odd", "price": "12", "brand": ""}]))
    first, second, third = load(file)
    assert (first.id, first.type, first.price, first.popularity) == ("P1", "phone_case", 10.0, 5)
    assert (second.id, second.type, second.price, second.brand) == ("L00001", None, None, None)
    assert (third.price, third.brand) == (None, None)


@pytest.mark.parametrize("content", ["{}", "[]", "[1]", '[{"title": "no name"}]', "not json"])
def test_unusable_catalogue_is_named(tmp_path: Path, content: str) -> None:
    """A file that is no catalogue is refused with its name."""
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(CatalogueError, match=r"bad\.json"):
        load(file)
