"""docs/api.md matches the docstrings."""

from __future__ import annotations

import runpy
from pathlib import Path

import safa

ROOT = Path(__file__).parents[1]


def test_the_page_matches_the_docstrings() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "write_api.py"))["api_page"]()
    assert (ROOT / "docs" / "api.md").read_text() == page, "run: python scripts/write_api.py"


def test_public_names_are_documented() -> None:
    assert [name for name in safa.__all__ if not getattr(safa, name).__doc__] == []
