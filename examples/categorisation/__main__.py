"""``python -m examples.categorisation --runs 8 --seed 7``: one line of JSON per run."""

from __future__ import annotations

import xray_otel as xray
from examples import arguments
from examples.categorisation.pipeline import categorise
from examples.categorisation.tree import tree


def main() -> None:
    options = arguments.parser("categorisation", "Assign products to categories.", runs=8).parse_args()
    chosen = arguments.choose(arguments.products(options), options.runs, options.seed)
    categories = tree()
    xray.configure(service_name="shop-categories")
    for product in chosen:
        assigned = categorise(product, categories)
        arguments.report(
            run_id=assigned.run_id, entity=product.id, product=product.title, category=assigned.category
        )
    xray.shutdown()


if __name__ == "__main__":
    main()
