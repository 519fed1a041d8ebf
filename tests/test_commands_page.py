"""docs/commands.md matches the output of --help."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_matches_help() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "write_commands.py"))["commands_page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == page, "run: python scripts/write_commands.py"
