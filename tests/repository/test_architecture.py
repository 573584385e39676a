"""The direction of imports, and the size of files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.repository.imports import ALLOWED, violations

ROOT = Path(__file__).parents[2]
MAX_LINES = 500


def sources() -> list[Path]:
    return [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def test_direction_of_imports():
    """collector → store ← api; of the client the server knows semconv only; nothing imports the cli."""
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("store/reader.py", "import collector.intake"),
        ("store/writer.py", "from xray_otel import semconv"),
        ("api/app.py", "from collector.intake import Intake"),
        ("collector/decode.py", "from xray_otel import run"),
        ("collector/decode.py", "import xray_otel"),
        ("xray_otel/_runs.py", "def late():\n    from store.rows import Batch\n"),
        ("examples/shop/main.py", "import typing\nif typing.TYPE_CHECKING:\n    import api.app\n"),
        ("cli/main.py", "import examples.catalogue"),
        ("api/routes/runs.py", "import tests.fixtures.postgres"),
    ],
)
def test_wrong_import_is_found(tmp_path, path, source):
    """The check fails on an import against the direction, wherever in the file it stands."""
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    assert [found.split(":")[0] for found in violations(tmp_path)] == [path]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("collector/extract.py", "from xray_otel import semconv\nfrom xray_otel.semconv import RUN_ID\n"),
        ("api/app.py", "import store.reader\nimport json\n"),
        ("cli/main.py", "from collector.intake import Intake\nfrom api.app import create_app\n"),
        ("examples/shop/main.py", "import xray_otel as xray\n"),
    ],
)
def test_right_import_is_not_found(tmp_path, path, source):
    """The check passes what the direction allows."""
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    assert violations(tmp_path) == []


def test_files_have_one_subject():
    """No file has grown beyond 500 lines; a file that long has two subjects."""
    written = [path for path in sources() if path != ROOT / "xray_otel/semconv.py"]  # which is generated
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in written}
    assert {path: lines for path, lines in long.items() if lines > MAX_LINES} == {}


def test_no_mock_library():
    """Tests use the real thing: no mock library is imported anywhere."""
    mocks = {"unittest", "mock", "pytest_mock", "responses", "respx"}
    found = []
    for path in [*sources(), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            found += [f"{path.relative_to(ROOT)}:{node.lineno}" for _ in names & mocks]
    assert found == []
