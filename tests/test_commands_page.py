"""docs/commands.md says what the commands say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_help_prints() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "write_commands.py"))["commands_page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == page, "run: python scripts/write_commands.py"
