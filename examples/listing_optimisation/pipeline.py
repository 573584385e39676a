"""The pipeline: generate titles → drop those against the policy → score → choose, or keep the current one."""

from __future__ import annotations

from dataclasses import dataclass

import xray_otel as xray
from examples.catalogue import Product
from examples.listing_optimisation import titles
from examples.listing_optimisation.titles import Title, policy_check, readability

PIPELINE = "listing-optimisation"
VERSION = "v1"
MIN_GAIN = 0.01
"""A new title must score better than the current one by this much."""
FINALISTS = 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a run proposes for a product; ``title`` is None when the current one stays."""

    run_id: str
    product: Product
    title: str | None


def optimise(product: Product) -> Proposal:
    """Propose a title for ``product``."""
    with xray.run(PIPELINE, version=VERSION, entity=product.id, input={"title": product.title}) as run:
        finalists = _score(product, _allowed(product, _generate(product)))
        best = _choose(product, finalists)
        run.outcome("rewritten" if best else "kept_current")
        run.set_output({"title": best.text if best else product.title})
        return Proposal(run.run_id, product, best.text if best else None)


def _generate(product: Product) -> list[Title]:
    with xray.step("generate_titles", type="llm", why="as many shapes as the templates give") as step:
        step.model(titles.MODEL, temperature=titles.TEMPERATURE)
        step.set_input({"prompt": f"Rewrite this title in as many ways as you can: {product.title}"})
        generated = list(titles.variants(product))
        step.counts(out=len(generated))
        step.artifact("titles", "\n".join(title.text for title in generated), content_type="text/plain")
        return generated


def _allowed(product: Product, generated: list[Title]) -> list[Title]:
    rules = {"max_length": titles.MAX_LENGTH}
    with xray.step("filter_by_policy", type="filter", why="the shop's title policy", reasoning=rules) as step:
        step.reasons("too_long", "shouting", "forbidden_claim", "brand_unknown", "repeated_word")
        return step.filter(generated, lambda title: policy_check(title, product))


def _score(product: Product, allowed: list[Title]) -> list[Title]:
    with xray.step("rank_by_readability", type="rank", why="length, place of the brand, relevance") as step:
        return step.rank(allowed, score=lambda title: readability(title, product), top_k=FINALISTS)


def _choose(product: Product, finalists: list[Title]) -> Title | None:
    limit = round(readability(Title("current", product.title), product) + MIN_GAIN, 6)
    with xray.step("choose_title", type="select", why="better than the current title by a margin") as step:
        step.set_reasoning({"min_score": limit})
        chosen: Title | None = None
        for title in finalists:
            score = readability(title, product)
            if score < limit:
                step.not_select(title, "gain_too_small", score=score, value=score, threshold=limit)
            elif chosen is None:
                chosen = title
                step.select(title, "best_gain", score=score, value=score, threshold=limit)
            else:
                step.not_select(title, "lower_score", score=score, value=score, threshold=limit)
        return chosen
