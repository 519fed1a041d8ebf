"""The source archive carries every file that commands in README.md and docs/ name."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = re.compile(
    r"\b(?:recipes|samples|examples|scripts|docs|tests|benchmarks)/[\w./-]*\w|\bconstraints\.txt|\bDockerfile"
)


def test_what_commands_name_is_in_it() -> None:
    rules = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines() if not line.startswith("#")]
    folders = {name for rule, *names in rules if rule == "graft" for name in names}
    files = {name for rule, *names in rules if rule == "include" for name in names}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in FILE.findall(page.read_text()) if (ROOT / name).exists()}
    assert named
    assert not [name for name in named if name.split("/")[0] not in folders and name not in files]
