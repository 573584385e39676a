from __future__ import annotations

import pytest

from semconv import generate
from xray_otel import semconv


def test_generated_files_are_fresh():
    """The constants and the documentation are what the registry says now."""
    registry = generate.load()
    assert generate.CONSTANTS_PATH.read_text("utf-8") == generate.constants(registry)
    assert generate.DOCUMENT_PATH.read_text("utf-8") == generate.document(registry)


def test_check_passes_without_writing(capsys):
    """``--check`` exits with 0 while the generated files are fresh."""
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_name_that_is_a_namespace_is_refused(tmp_path):
    """A registry in which a name is both an attribute and a namespace does not load."""
    for path in generate.REGISTRY.iterdir():
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    run = tmp_path / "run.yaml"
    run.write_text(run.read_text("utf-8").replace("id: xray.run.entity", "id: xray.run.wait"), "utf-8")
    with pytest.raises(generate.RegistryError, match=r"xray\.run\.wait is an attribute and the namespace"):
        generate.load(tmp_path)


def test_aliases_lead_to_step_types():
    """Every alias of a step type is in lower case, no type itself, and leads to one."""
    for alias, word in semconv.STEP_TYPE_ALIASES.items():
        assert alias == alias.lower()
        assert alias not in semconv.STEP_TYPES
        assert word in semconv.STEP_TYPES
