"""Kinds of output names; locks and digests of files; errors for a full disk."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safa.errors import OutputError

# Suffixes of videos and of pictures.
VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".y4m", ".asf", ".3g2", ".f4v", ".m2v", ".m1v", ".mpe", ".m2p"),
    *(".dv", ".qt", ".tod", ".rm", ".rmvb", ".ogm", ".divx", ".wtv", ".nut"),
}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}

PIPE_DIGEST = "pipe"
"""Digest of a pipe, whose content cannot be read twice."""
ENCODER = "safa"
"""Encoder named in the video stream of every result, by which batches tell results from sources."""

# Only this makes a name a pattern; any other "%" is a character like the rest.
NUMBER = re.compile(r"%\d{0,2}d")


def number_places(output: Path) -> int:
    """Return the number of placeholders, such as %06d, in the name."""
    return len(NUMBER.findall(output.name))


def is_numbered(output: Path) -> bool:
    """Return whether the output is a folder of pictures, such as frames/%06d.png.

    In the name of a video %06d is plain text.
    """
    return output.suffix.lower() == ".png" and number_places(output) == 1


def numbered(output: Path, number: int) -> str:
    """Return the name of picture ``number`` of a folder of pictures."""
    return NUMBER.sub(lambda found: found[0] % number, output.name)


def whole_output(output: Path) -> Path:
    """Return the path that a finished output is renamed to: a file, a folder of pictures, or a link's target."""
    whole = output.parent if is_numbered(output) else output
    return whole.resolve() if whole.is_symlink() or whole.name in ("", "..") else whole


def unfinished(output: Path) -> Path:
    """Return the temporary path of an output, in the same folder, so that a rename completes it."""
    whole = whole_output(output)
    return whole.with_name(f".{whole.name}.part")


def for_ffmpeg(path: Path) -> str:
    """Return the absolute path: FFmpeg would read text before a colon in a relative path as a protocol."""
    return str(path.absolute())


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ENDS = 1 << 20
"""Bytes at each end of a file that `appearance` reads; reading the whole file can take minutes."""

# Full disk, quota used up, and the file-size limit of the file system or the shell.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(folder: Path, kept: Callable[[], str]) -> Iterator[None]:
    """Turn a failed write below `folder` into OutputError; `kept()` says what survives. Others pass through.

    FFmpeg's own write errors are OSErrors with the same error numbers, so both are handled here.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise OutputError(
                f"no space left on the disk of {folder}; {kept()}; free some space and run the same command again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{folder} cannot be written to: {os.strerror(error.errno)}.") from error
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(f"a name in {folder} would become too long; choose a shorter output name.") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise OutputError(f"{folder} cannot hold new files; choose another output.") from error
        raise


def check_target(path: Path, overwrite: bool = False, inputs: Iterable[Path | str] = ()) -> None:
    """Raise OutputError where a file cannot, or must not, be written to `path`.

    An existing file is replaced only with `overwrite`, one of the `inputs` (files, or folders that are read) never.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent} is no folder; make it first or choose another output.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name for the output.")
    if not os.path.lexists(path):
        return
    for source in inputs:
        if not os.path.exists(source) or not path.exists():
            continue
        if path.samefile(source):
            raise OutputError(f"{path} is the input itself; choose another name for the output.")
        if os.path.isdir(source) and path.resolve().is_relative_to(Path(source).resolve()):
            raise OutputError(f"{path} lies in the input, {source}; choose another place for the output.")
    if not overwrite:
        raise OutputError(f"{path} exists already; choose another name or add --overwrite.")


class FolderLock:
    """Locks a folder against other processes until it is released or this process ends.

    It has no effect where there are no such locks: on some network file systems.
    """

    def __init__(self, folder: Path) -> None:
        """Lock the folder. Raises OutputError if another process has locked it."""
        self._handle: int | None = None
        try:
            self._handle = _named_mutex(folder) if fcntl is None else _locked_folder(folder)
        except BlockingIOError:
            raise OutputError(f"{folder} is in use: another run is making the same output; let it end.") from None

    def release(self) -> None:
        """Unlock the folder. May be called again."""
        if self._handle is None:
            return
        if fcntl is None:
            _close_mutex(self._handle)
        else:
            os.close(self._handle)
        self._handle = None

    def __del__(self) -> None:
        self.release()


def _locked_folder(folder: Path) -> int | None:
    """Return an open, locked handle of the folder; None if the file system has no locks.

    Raises:
        BlockingIOError: another process has locked it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


def _named_mutex(folder: Path) -> int | None:
    """Return a mutex named after the folder, which ends with its process: Windows has no locks on folders."""
    if sys.platform != "win32":
        return None
    exists = 183
    name = os.path.normcase(folder.resolve())
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateMutexW.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_wchar_p]
    kernel.CreateMutexW.restype = ctypes.c_void_p
    ctypes.set_last_error(0)
    handle: int | None = kernel.CreateMutexW(None, 0, f"Global\\safa-{hashlib.sha256(name.encode()).hexdigest()}")
    if handle is not None and ctypes.get_last_error() == exists:
        _close_mutex(handle)
        raise BlockingIOError
    return handle


def _close_mutex(handle: int) -> None:
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.CloseHandle.argtypes = [ctypes.c_void_p]
        kernel.CloseHandle(handle)


def appearance(path: Path) -> str:
    """Return a digest of names, sizes and the ends of the first and last file; "" if there is no file."""
    digest = hashlib.sha256()
    try:
        files = files_of(path)
        for file in files:
            digest.update(os.fsencode(f"{file.name} {file.stat().st_size}\n"))
        for file in {files[0], files[-1]} if files else ():
            with file.open("rb") as opened:
                digest.update(opened.read(ENDS))
                opened.seek(max(0, file.stat().st_size - ENDS))
                digest.update(opened.read(ENDS))
    except OSError:
        return ""
    return digest.hexdigest() if files else ""


def files_of(path: Path) -> list[Path]:
    """Return the files in a folder, or the file itself."""
    return sorted(child for child in path.iterdir() if child.is_file()) if path.is_dir() else [path]
