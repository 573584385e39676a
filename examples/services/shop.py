"""The web service: ``uvicorn examples.services.shop:app``."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

import xray_otel as xray
from examples.catalogue import Product
from examples.services.tasks import choose, products, rank

app = FastAPI()


@app.post("/alternatives/{product_id}", status_code=202)
def find_alternative(product_id: str) -> dict[str, str]:
    """Begin to look for a cheaper product; the worker goes on with what was found."""
    product = products.get(product_id)
    if product is None:
        raise HTTPException(404)
    with xray.run("alternative", entity=product_id) as run:
        found = cheaper(product, same_type(product))
        (rank.s([each.id for each in found]) | choose.s()).delay()
        return {"run_id": run.run_id}


@xray.step(type="search")
def same_type(product: Product) -> list[Product]:
    found = [each for each in products.values() if each.type == product.type and each.id != product.id]
    xray.current_step().record(found, "kept")
    return found


@xray.step(type="filter")
def cheaper(product: Product, found: list[Product]) -> list[Product]:
    limit = product.price or 0.0
    return xray.current_step().filter(
        found,
        lambda each: each.price is not None and each.price < limit,
        value=lambda each: each.price,
        threshold=limit,
        reason="not_cheaper",
    )
