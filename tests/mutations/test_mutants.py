"""
What contracts and alerts stand on is held by tests: change a comparison, a limit, a commit, and one fails.

The changes are in ``mutants.py``. Planting them takes minutes, so it is asked for:

    XRAY_TEST_MUTANTS=1 ./xray test tests/mutations
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.postgres import TestServer
from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "cli", "collector", "docs", "semconv", "store", "tests", "xray_otel")
_NOT_COPIED = shutil.ignore_patterns("node_modules")
_FAILED = 1
"""How pytest ends when tests fail; what cannot be imported ends otherwise, and proves nothing."""

planting = pytest.mark.skipif(
    "XRAY_TEST_MUTANTS" not in os.environ, reason="takes minutes: set XRAY_TEST_MUTANTS=1"
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_each_mutant_has_its_place(mutant: Mutant):
    """What is to be changed stands in the source once, and the tests that are to notice exist."""
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    for test in mutant.tests:
        file, _, name = test.partition("::")
        name = name.partition("[")[0]
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which changes are planted."""
    copy = tmp_path_factory.mktemp("mutants")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=_NOT_COPIED)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def ended(tree: Path, postgres: TestServer, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests of the copy; return how pytest ended and what it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=short", *tests],
        cwd=tree,
        # Compiled files are copied and none is written: a change that keeps the length within a second after
        # another would not be seen.
        env=os.environ
        | {
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XRAY_TEST_DATABASE_URL": postgres.url,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600.0,
    )
    return done.returncode, done.stdout


@contextmanager
def planted(tree: Path, mutant: Mutant) -> Iterator[None]:
    """Have the copy changed, for as long as the block lasts."""
    path = tree / mutant.file
    source = path.read_text()
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        path.write_text(source)


@planting
def test_the_unchanged_copy_passes(tree: Path, postgres: TestServer):
    """Else whatever breaks the copy would pass for a test that noticed."""
    tests = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
    code, said = ended(tree, postgres, tests)
    assert code == 0, said


@planting
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_each_mutant_is_noticed(tree: Path, postgres: TestServer, mutant: Mutant):
    """One of its tests fails."""
    with planted(tree, mutant):
        code, said = ended(tree, postgres, mutant.tests)
    assert code == _FAILED, said
