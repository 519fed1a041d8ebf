"""Write docs/commands.md from the commands' own --help: python scripts/write_commands.py"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "docs" / "commands.md"


def help_of(*command: str) -> str:
    """Return the output of ``safa COMMAND --help`` on a terminal of 100 columns."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    arguments = [sys.executable, "-m", "safa", *command, "--help"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    return re.sub(r"Usage: .*?safa", "Usage: safa", run.stdout, count=1).replace("__main__.py ", "").strip()


def commands_page() -> str:
    """The whole page."""
    overview = help_of()
    names = re.findall(r"^  ([a-z-]+) {2,}\S", overview.split("Commands:")[1], re.MULTILINE)
    parts = ["# Commands", "", "Written by `scripts/write_commands.py` from `--help`; do not edit.", ""]
    parts += ["```", overview, "```", ""]
    for name in names:
        parts += [f"## safa {name}", "", "```", help_of(name), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(commands_page())
