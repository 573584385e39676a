from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xray_otel

ROOT = Path(__file__).parents[2]


def test_exports_are_documented():
    """Everything on the export list says what it is, and so do its methods."""
    for name in xray_otel.__all__:
        value = getattr(xray_otel, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            for method, member in inspect.getmembers(value, inspect.isfunction):
                if not method.startswith("_"):
                    assert inspect.getdoc(member), f"{name}.{method}"


def test_user_code_type_checks():
    """Code as users write it passes mypy's strict mode against the installed annotations."""
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing/user_code.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


IMPORT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import json, math, xray_otel as xray
from xray_otel._columns import Columns
from xray_otel._decisions import encode
items = ["a\\x00", "\\ud800"]
columns = Columns(items, "KE", reasons=[None, "no"], scores=[math.nan, 0.5], values=[10**400, 1])
[chunk] = encode(columns)
print(json.dumps(json.loads(chunk.text)))
"""


@pytest.mark.parametrize("blocked", [[], ["orjson", "grpc"]])
def test_the_client_works_without_its_optional_packages(blocked):
    """Without orjson and gRPC the client imports and gives the same text."""
    result = subprocess.run(
        [sys.executable, "-c", IMPORT.format(blocked=blocked)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert '"score": [null, 0.5]' in result.stdout
    assert '"item": ["a", "?"]' in result.stdout
