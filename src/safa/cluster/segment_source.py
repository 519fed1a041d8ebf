"""The source on a worker: the file itself or a copy of it, and the source frames of one segment.

A worker reads the source by its path if that shows the same file, else from a copy in a temporary folder of its
machine. Every source frame is compared with the checksum in the plan.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from safa.cluster.plan import NeededFrame, SegmentPlan, checksum
from safa.errors import MediaError, SafaError
from safa.video.files import appearance, files_of
from safa.video.folder_source import open_reader
from safa.video.info import Frame, ReadOptions
from safa.video.schedule import OutputTime
from safa.video.windows import Interval, Numbered, Window

CHUNK = 32 << 20
"""Bytes that are sent to a worker at a time."""

MAX_AGE = 24 * 3600.0
"""Seconds without use after which a copy is deleted."""


@dataclass(frozen=True)
class SharedSource:
    """The source of a job, as seen from any machine.

    Args:
        path: on the driver.
        appearance: ``video.files.appearance`` of it there, by which its copies are recognised.
    """

    path: Path
    appearance: str

    @property
    def copy(self) -> Path:
        """Path of the copy on this machine."""
        return copies_folder() / self.appearance[:32] / self.path.name

    def here(self) -> Path | None:
        """Return the path of the source or its copy on this machine; None if there is neither."""
        candidates = (self.path, self.copy) if _is_private(copies_folder()) else (self.path,)
        found = next((path for path in candidates if appearance(path) == self.appearance), None)
        if found is not None and found == self.copy:
            with suppress(OSError):
                os.utime(self.copy.parent)  # marks the copy as used
        return found

    def chunks(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield all bytes of the source in order, as (name of a file below a folder, or ""; offset; bytes)."""
        for file in files_of(self.path):
            name = file.relative_to(self.path).as_posix() if self.path.is_dir() else ""
            with file.open("rb") as opened:
                offset = 0
                while (data := opened.read(CHUNK)) or not offset:
                    yield name, offset, data
                    offset += max(1, len(data))

    def receive(self, name: str, offset: int, data: bytes) -> None:
        """Write one of ``chunks`` to the copy on this machine.

        Raises:
            SafaError: another user can write to the folder of the copies.
        """
        folder = copies_folder()
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        if not _is_private(folder):
            raise SafaError(
                f"{folder} belongs to another user, so nothing is copied there; remove it or set another TMPDIR."
            )
        if not offset:
            _remove_unused(folder, self.copy.parent)
        target = self.copy / name if name else self.copy
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab" if offset else "wb") as file:
            file.write(data)

    def forget(self) -> None:
        """Delete the copy on this machine, if there is one."""
        if _is_private(copies_folder()):
            shutil.rmtree(self.copy.parent, ignore_errors=True)


def _remove_unused(folder: Path, own: Path) -> None:
    """Delete copies that have not been used for a day, which a driver that was killed leaves behind."""
    for other in folder.iterdir():
        with suppress(OSError):
            if other != own and time.time() - other.stat().st_mtime > MAX_AGE:
                shutil.rmtree(other, ignore_errors=True)


def copies_folder() -> Path:
    """Return the folder of this user's copies. Others can guess its name and make it first: see ``_is_private``."""
    user = getattr(os, "getuid", lambda: "")()
    return Path(tempfile.gettempdir()) / f"safa-inputs-{user}"


def _is_private(folder: Path) -> bool:
    """Return whether it is a folder, not a link, that is owned and writable by this user alone."""
    if not hasattr(os, "getuid"):
        return folder.is_dir()  # on Windows every user has a temporary folder of their own
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022


INSTANT = Fraction(1, 10**9)
"""Seconds: less than any time between two frames."""


class DecodeMismatch(Exception):
    """A source frame is missing, or differs from the one that was planned with."""


@dataclass(frozen=True)
class Reading:
    """Options with which driver and workers read the source.

    Args:
        options: of the job.
        zero: the source's ``clock_zero``, from which the times in ``options`` count.
        alpha: frames are read with their transparency.
    """

    options: ReadOptions
    zero: Fraction
    alpha: bool


def frames_from_keyframe(path: Path, reading: Reading, plan: SegmentPlan) -> Iterator[Numbered]:
    """Yield the needed frames, decoded from a keyframe at or before the first one.

    Raises:
        DecodeMismatch: they differ from those that the driver decoded from the start of the file, as in some damaged
            files and in those whose keyframes cannot be decoded alone.
    """
    start, end = plan.seek - reading.zero, plan.needed[-1].time - reading.zero + INSTANT
    try:
        with open_reader(path, replace(reading.options, start=start, end=end)) as reader:
            numbers = {needed.time: needed for needed in plan.needed}
            found = (
                (numbers[frame.time + reader.origin], frame)
                for frame in reader.frames(reading.alpha)
                if frame.time + reader.origin in numbers
            )
            yield from _check_frames(found, plan)
    except MediaError as error:
        raise DecodeMismatch(str(error)) from error


def frames_from_start(path: Path, reading: Reading, plan: SegmentPlan, check: bool = True) -> Iterator[Numbered]:
    """Yield the needed frames, decoded from the start of the file as by the driver.

    Args:
        check: compare their checksums.

    Raises:
        DecodeMismatch: a frame is missing, or differs from the driver's.
    """
    numbers = {needed.number: needed for needed in plan.needed}
    with open_reader(path, reading.options) as reader:
        found = (
            (numbers[number], frame) for number, frame in enumerate(reader.frames(reading.alpha)) if number in numbers
        )
        yield from _check_frames(found, plan, check)


def windows_of(plan: SegmentPlan, frames: Iterator[Numbered]) -> Iterator[Window[OutputTime]]:
    """Yield the windows of a segment.

    Args:
        frames: the needed frames in order, of which few are held in memory at a time.
    """
    held: dict[int, Numbered] = {}
    pictures = enumerate(plan.pictures, plan.first_frame)
    for numbers, of_window in groupby(pictures, key=lambda numbered: numbered[1].window):
        held = {number: frame for number, frame in held.items() if number >= numbers[0]}
        while numbers[-1] not in held:
            frame = next(frames)
            held[frame.number] = frame
        intervals = []
        for number, picture in of_window:
            moment = OutputTime(number, picture.first, Fraction(picture.t), plan.start)
            intervals.append(Interval(held[picture.first], held[picture.second], [(moment, picture.t)]))
        yield Window(tuple(held[number] for number in numbers), intervals)


def _check_frames(
    found: Iterator[tuple[NeededFrame, Frame]], plan: SegmentPlan, check: bool = True
) -> Iterator[Numbered]:
    """Yield the needed frames after comparing their order and, with ``check``, their checksums."""
    for expected in plan.needed:
        needed, frame = next(found, (None, None))
        if frame is None or needed != expected:
            raise DecodeMismatch(f"source frame {expected.number} at {float(expected.time):.3f} s is missing")
        if check and checksum(frame.image) != expected.checksum:
            raise DecodeMismatch(f"source frame {expected.number} at {float(expected.time):.3f} s looks different")
        yield Numbered(expected.number, expected.time, frame.image)
