"""``docs/sdk.md`` names everything that is public, and its examples run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import xray_otel
from xray_otel import testing

TEXT = (Path(__file__).parents[2] / "docs/sdk.md").read_text(encoding="utf-8")


def mentioned(name: str) -> bool:
    return re.search(rf"`(\w+\.)?{name}\b[^`]*`", TEXT) is not None


def test_every_public_name_is_there() -> None:
    """Each exported name stands in the text, with what can be called on the classes that users hold."""
    names = {name for name in xray_otel.__all__ if name != "__version__"} | set(testing.__all__)
    assert [name for name in sorted(names) if not mentioned(name)] == []
    held = (xray_otel.Run, xray_otel.Step, testing.Captured)
    members = {
        member for kind in held for member, _ in inspect.getmembers(kind) if not member.startswith("_")
    }
    assert [member for member in sorted(members - {"described"}) if not mentioned(member)] == []


def test_every_public_name_says_what_it_is() -> None:
    """Each exported class and function of both modules has a docstring, and so has each of their methods."""
    for module in (xray_otel, testing):
        for name in module.__all__:
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            assert inspect.getdoc(value), name
            for member, found in inspect.getmembers(value):
                if not member.startswith("_") and (inspect.isfunction(found) or isinstance(found, property)):
                    assert inspect.getdoc(found), f"{name}.{member}"


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_the_examples_run(block: str) -> None:
    """Each example is a program in which nothing is misused."""
    products = [SimpleNamespace(id="B07", price=99.0), SimpleNamespace(id="B09", price=9.0)]
    names = {"xray": xray_otel, "search": lambda _: products}
    with testing.capture():
        exec(compile(block, "docs/sdk.md", "exec"), names)
