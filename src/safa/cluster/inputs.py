"""The source on a worker: by its path where that shows the same file, else a copy in a temporary folder of the node."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safa.errors import SafaError
from safa.video.files import appearance, files_of

CHUNK = 32 << 20
FORGOTTEN = 24 * 3600.0


@dataclass(frozen=True)
class Source:
    """The source as the driver sees it; ``look`` is its ``appearance``."""

    path: Path
    look: str

    @property
    def copy(self) -> Path:
        """Where a node keeps its copy."""
        return copies_folder() / self.look[:32] / self.path.name

    def here(self) -> Path | None:
        """The source on this machine, or None."""
        places = (self.path, self.copy) if _is_own(copies_folder()) else (self.path,)
        found = next((path for path in places if appearance(path) == self.look), None)
        if found is not None and found == self.copy:
            with suppress(OSError):
                os.utime(self.copy.parent)  # it is in use
        return found

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
        """Add one of ``chunks`` to this machine's copy.

        Raises:
            SafaError: the folder of the copies belongs to another user.
        """
        folder = copies_folder()
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        if not _is_own(folder):
            raise SafaError(
                f"{folder} belongs to another user, so nothing is copied there; remove it or set TMPDIR to another one."
            )
        if not offset:
            _remove_forgotten(folder, self.copy.parent)
        target = self.copy / name if name else self.copy
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab" if offset else "wb") as file:
            file.write(data)

    def forget(self) -> None:
        """Delete this machine's copy, if there is one."""
        if _is_own(copies_folder()):
            shutil.rmtree(self.copy.parent, ignore_errors=True)


def _remove_forgotten(folder: Path, own: Path) -> None:
    """Delete copies that nothing has used for a day: a driver that was killed cannot tell its workers to."""
    for other in folder.iterdir():
        with suppress(OSError):
            if other != own and time.time() - other.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(other, ignore_errors=True)


def copies_folder() -> Path:
    """Where this user's copies lie. Other users can guess the name and make the folder first: see ``_is_own``."""
    user = getattr(os, "getuid", lambda: "")()
    return Path(tempfile.gettempdir()) / f"safa-inputs-{user}"


def _is_own(folder: Path) -> bool:
    """Whether no other user can change its content: a folder, not a link, owned and writable by this user alone."""
    if not hasattr(os, "getuid"):
        return folder.is_dir()  # Windows: the temporary folder itself is the user's own
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022
