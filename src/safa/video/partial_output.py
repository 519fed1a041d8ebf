"""The finished beginning of a job that was stopped, as segments that can be joined and watched."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from safa.errors import OutputError
from safa.files import publish, sync_folder
from safa.video.files import is_numbered, whole_output
from safa.video.journal import Journal, Segment

SO_FAR = "so far"
"""The joined beginning, among what a job has made."""


class Beginning:
    """The segments of a journal up to the first that is missing, closed there; the journal stays as it is.

    `end` is when the last frame stops being shown, in seconds: as long after it as it comes after the one before.
    """

    def __init__(self, journal: Journal, time_base: Fraction, rate: Fraction) -> None:
        """Raises OutputError where the first segment is missing. `time_base` and `rate` are the spec's."""
        self._journal = journal
        self.segments: list[Segment] = []
        while journal.has(len(self.segments)):
            self.segments.append(journal.segment(len(self.segments)))
        if not self.segments:
            raise OutputError(
                f"nothing can be joined yet: a part is {journal.frames_per_segment} frames, and the first is not "
                "finished. Run the command without --finish to go on."
            )
        self.frames = sum(segment.frames for segment in self.segments)
        if journal.end is not None and self.frames == journal.frames:
            self.end: Fraction | None = journal.end
        else:
            times = self.segments[-1].times()
            step = times[-1] - times[-2] if len(times) > 1 else round(1 / rate / time_base)
            self.end = (times[-1] + max(1, step)) * time_base

    def kept(self) -> str:
        """Describe the kept work for messages."""
        return self._journal.kept()

    def publish(self, temporary: Path, output: Path, replace: bool = True) -> None:
        """Give `temporary`, the whole file or folder of pictures, its name. A file that was made like this before is
        replaced; see `check_free`.
        """
        self.check_free(output)
        final = whole_output(output)
        self._journal.note_made(SO_FAR, temporary)
        if not temporary.is_dir():
            publish(temporary, final)
            return
        if final.exists():
            final.rmdir()
        os.replace(temporary, final)
        sync_folder(final.parent)

    def check_free(self, output: Path) -> None:
        """Raise OutputError where `output` is there and is not what an earlier join of this work has made."""
        final = whole_output(output)
        is_folder = final.is_dir()
        if any(final.iterdir()) if is_folder else final.exists() and not self._journal.has_made(SO_FAR, final):
            raise OutputError(f"{final} is there already; move it away and run the same command again.")

    def put_aside(self, output: Path) -> Path:
        """Rename what failed its check; see `Journal.put_aside`."""
        return self._journal.put_aside(output)


Joinable = Journal | Beginning
"""Segments that can be joined into an output."""


def beginning_of(output: Path) -> Path:
    """Return the path of the finished beginning of an output: film.so-far.mp4, or frames.so-far/%06d.png."""
    if is_numbered(output):
        return output.parent.with_name(f"{output.parent.name}.so-far") / output.name
    return output.with_name(f"{output.stem}.so-far{output.suffix}")
