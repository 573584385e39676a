"""``python -m examples.listing_optimisation --runs 8 --seed 7``: one line of JSON per run."""

from __future__ import annotations

import xray_otel as xray
from examples import arguments
from examples.listing_optimisation.pipeline import optimise


def main() -> None:
    options = arguments.parser("listing_optimisation", "Propose better titles.", runs=8).parse_args()
    chosen = arguments.choose(arguments.products(options), options.runs, options.seed)
    xray.configure(service_name="shop-listings")
    for product in chosen:
        proposal = optimise(product)
        title = proposal.title or product.title
        arguments.report(run_id=proposal.run_id, entity=product.id, product=product.title, title=title)
    xray.shutdown()


if __name__ == "__main__":
    main()
