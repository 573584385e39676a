"""Schemas as they are written: one canonical form, and what is none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from store.schemas import SchemaProblem, schema_version

DEEP = orjson.loads("[" * 1000 + "]" * 1000)


@pytest.mark.parametrize(
    "document",
    [
        {"step_types": DEEP},
        {"note": DEEP},
        {"steps": {"s": {"input": {"k": {"type": DEEP}}}}},
        {"note": "\ud800"},
        {"note": float("inf")},
        {"steps": {"s": {"input": {"k" * 100_000: 7}}}},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_schema(document: Any):
    """Whatever a sender writes is refused in a few words; nothing else is raised."""
    with pytest.raises(SchemaProblem) as refused:
        schema_version("s", "1", document)
    assert len(str(refused.value)) < 300


def test_spellings_of_one_schema_are_one():
    """Short and long forms, any order and empty parts give the same content."""
    short = schema_version("s", "1", {"steps": {"a": {"input": {"k": "string!", "n": "number"}}}})
    long = schema_version(
        "s",
        "1",
        {
            "version": "1",
            "step_types": [],
            "steps": {
                "a": {
                    "output": None,
                    "input": {"n": {"type": "number"}, "k": {"type": "string", "required": True}},
                }
            },
        },
    )
    assert short.sha256 == long.sha256
    assert schema_version("s", "1", {"steps": {}}).sha256 != short.sha256
