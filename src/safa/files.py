"""Atomic writes: a file appears under its name whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def publish(temporary: Path, final: Path) -> None:
    """Rename a finished file to its final name, so that it survives a power cut whole or not at all."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such thing for folders
            raise
    finally:
        os.close(handle)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, to which the block writes the file.

    The file replaces ``path``, or the target of a symbolic link, when the block ends, and is deleted if it raises.
    """
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f"{path.name}.part")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text)
