"""The source on a worker: by its path where that shows the same file, else a copy in a temporary folder of the node."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDS = 1 << 20
"""Bytes at a file's beginning and end that are compared; all of it would have to be read on every node."""
CHUNK = 32 << 20


@dataclass(frozen=True)
class Source:
    """The source as the driver sees it; ``look`` is its ``appearance``."""

    path: Path
    look: str

    @property
    def copy(self) -> Path:
        """Where a node keeps its copy."""
        user = getattr(os, "getuid", lambda: "")()
        return Path(tempfile.gettempdir()) / f"safa-inputs-{user}" / self.look[:32] / self.path.name

    def here(self) -> Path | None:
        """The source on this machine, or None."""
        return next((path for path in (self.path, self.copy) if appearance(path) == self.look), None)

    def chunks(self) -> Iterator[tuple[str, int, bytes]]:
        """All its bytes as (name below the source, "" for a file; offset; bytes), in order."""
        for file in _files(self.path):
            name = file.relative_to(self.path).as_posix() if self.path.is_dir() else ""
            with file.open("rb") as opened:
                offset = 0
                while (data := opened.read(CHUNK)) or not offset:
                    yield name, offset, data
                    offset += max(1, len(data))

    def receive(self, name: str, offset: int, data: bytes) -> None:
        """Add one of ``chunks`` to this machine's copy."""
        target = self.copy / name if name else self.copy
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with target.open("ab" if offset else "wb") as file:
            file.write(data)

    def forget(self) -> None:
        """Delete this machine's copy, if there is one."""
        shutil.rmtree(self.copy.parent, ignore_errors=True)


def appearance(path: Path) -> str:
    """A digest of sizes, names and of the ends of the first and last file; "" where there is nothing."""
    digest = hashlib.sha256()
    try:
        files = _files(path)
        for file in files:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for file in {files[0], files[-1]} if files else ():
            with file.open("rb") as opened:
                digest.update(opened.read(ENDS))
                opened.seek(max(0, file.stat().st_size - ENDS))
                digest.update(opened.read(ENDS))
    except OSError:
        return ""
    return digest.hexdigest() if files else ""


def _files(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
