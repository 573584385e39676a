"""
``python -m examples.competitor_selection --runs 12 --seed 7 [--catalog FILE] [--fault]``

Prints one line of JSON per run: the product, and what was matched, with the types that the
shop's own catalogue knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import xray_otel as xray
from examples import arguments
from examples.catalogue import Product, without_types
from examples.competitor_selection.checks import Policy
from examples.competitor_selection.pipeline import Match, match
from examples.search_index import SearchIndex


class Incident(NamedTuple):
    """One product is matched just after a supplier's feed has lost its product types."""

    product: Product
    supplier: str


def incident(catalogue: Sequence[Product]) -> Incident:
    """The first phone case, and who supplies the first laptop stand (or else the first other product)."""
    case = next((product for product in catalogue if product.type == "phone_case" and product.price), None)
    if case is None:
        raise SystemExit("--fault needs a catalogue with a phone case that has a price")
    others = [product for product in catalogue if product.type != case.type]
    stands = [product for product in others if product.type == "laptop_stand"]
    return Incident(case, (stands or others or [case])[0].supplier)


def main() -> None:
    parser = arguments.parser("competitor_selection", "Match products with their competitors.", runs=12)
    parser.add_argument(
        "--fault", action="store_true", help="in one run, a supplier's feed comes without product types"
    )
    options = parser.parse_args()
    catalogue = arguments.products(options)
    xray.configure(service_name="shop-pricing")
    index = SearchIndex(catalogue)
    policy = Policy() if any(product.rating is not None for product in catalogue) else Policy(min_rating=None)
    types = {product.id: product.type for product in catalogue}
    faulty_run = options.runs * 2 // 3 if options.fault else None
    for number, product in enumerate(arguments.choose(catalogue, options.runs, options.seed)):
        if faulty_run and number == faulty_run - 1:
            # The same product with the feed as it was: what the faulty run is compared with.
            _print(match(index, incident(catalogue).product, policy), types)
        elif number == faulty_run:
            case, supplier = incident(catalogue)
            damaged = SearchIndex(without_types(catalogue, supplier))
            _print(match(damaged, case, policy), types)
        else:
            _print(match(index, product, policy), types)
    xray.shutdown()


def _print(found: Match, types: dict[str, str | None]) -> None:
    rival = found.competitor
    arguments.report(
        run_id=found.run_id,
        entity=found.product.id,
        product=found.product.title,
        product_type=found.product.type,
        matched=None if rival is None else rival.id,
        matched_product=None if rival is None else rival.title,
        # From the catalogue before any feed arrived: what a person who looks at the match would see.
        matched_type=None if rival is None else types[rival.id],
        score=found.score,
    )


if __name__ == "__main__":
    main()
