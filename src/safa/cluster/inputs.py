"""The source on a worker: by its path where that shows the same file, else a copy in a temporary folder of the node."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safa.video.disk import appearance, files_of

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
        for file in files_of(self.path):
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
