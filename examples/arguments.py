"""The command line that the example programs share, and the products they run on."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.catalogue import CatalogueError, Product, generate, load


def parser(program: str, description: str, runs: int) -> argparse.ArgumentParser:
    """A parser with ``--runs``, ``--seed`` and ``--catalog``."""
    made = argparse.ArgumentParser(prog=f"python -m examples.{program}", description=description)
    made.add_argument("--runs", type=_positive, default=runs, help=f"how many runs (default {runs})")
    made.add_argument("--seed", type=int, default=7, help="seed of catalogue and choice of products")
    made.add_argument("--catalog", type=Path, help="JSON file of listings instead of the generated catalogue")
    return made


def products(arguments: argparse.Namespace) -> tuple[Product, ...]:
    """The catalogue that was asked for; an unusable file ends the program with one line."""
    if arguments.catalog is None:
        return generate(arguments.seed)
    try:
        return load(arguments.catalog)
    except CatalogueError as error:
        sys.exit(str(error))


def choose(catalogue: Sequence[Product], count: int, seed: int) -> list[Product]:
    """``count`` products with a type and a price, with repetition only when there are fewer than that."""
    eligible = [product for product in catalogue if product.type and product.price]
    if not eligible:
        sys.exit("no product of the catalogue has both a type and a price")
    rng = random.Random(seed)
    return rng.sample(eligible, count) if count <= len(eligible) else rng.choices(eligible, k=count)


def report(**fields: Any) -> None:
    """Print one run as a line of JSON."""
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number from 1, got {text}")
    return number
