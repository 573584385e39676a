"""
Search keywords for a product.

Here a language model would be asked. This example must run offline and give the same
answer every time, so a table of synonyms stands in for the model; the step is recorded as
a model's step is, with the prompt, a model name and a temperature.
"""

from __future__ import annotations

from examples.catalogue import Product, words

MODEL = "synonym-table-1"
TEMPERATURE = 0.0

SYNONYMS = {
    "case": ("cover", "bumper"), "cover": ("case",), "charger": ("charging", "adapter"),
    "cable": ("cord",), "stand": ("riser",), "riser": ("stand",), "headphones": ("headset", "earbuds"),
    "earbuds": ("headphones",), "headset": ("headphones",), "mount": ("holder",), "holder": ("mount",),
    "film": ("protector",), "protector": ("film",), "sleeve": ("bag",), "bag": ("sleeve",),
}  # fmt: skip

LINKING = frozenset(("for", "with", "and", "to", "the", "of"))


def prompt(product: Product) -> str:
    """The text that a model would be asked with."""
    return f"List search keywords for products that compete with: {product.title}"


def generate(product: Product) -> tuple[str, ...]:
    """Words of the title without the brand, their synonyms, and the root of the category path; each once."""
    brand = frozenset(words(product.brand or ""))
    found: dict[str, None] = {}
    for word in words(product.title):
        if word not in brand and word not in LINKING:
            found[word] = None
            found.update(dict.fromkeys(SYNONYMS.get(word, ())))
    # The broadest category keeps the search open for products that are described in other words.
    found.update(dict.fromkeys(word for word in words(" ".join(product.categories[:1]))))
    return tuple(found)
