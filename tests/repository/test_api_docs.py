"""``docs/api.md`` says what the code says."""

from __future__ import annotations

from docs.generate_api import TARGET, generate


def test_api_page_is_fresh() -> None:
    """The file is what ``python -m docs.generate_api`` writes now."""
    assert TARGET.read_text(encoding="utf-8") == generate()
