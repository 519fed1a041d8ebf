"""A finished segment in the work folder, and the record beside it that says what is in it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

from safa.errors import JournalMismatch, OutputError, SafaError
from safa.files import publish, sync_folder, write_json
from safa.video.files import PIPE_DIGEST, FolderLock, whole_output


@dataclass(frozen=True)
class Segment:
    """A finished segment: how many frames, and the first and last one's ticks of the output's time base.

    `reorder` is how many frames the encoder delays presentation by (0 without B-frames), `bytes` the file's size.
    """

    path: Path
    frames: int
    first: int
    last: int
    reorder: int
    bytes: int

    @property
    def record(self) -> Path:
        """Return the path of the file with the segment's properties and the time of every frame."""
        return self.path.with_suffix(".json")

    def times(self) -> list[int]:
        """Ticks of all its frames in the order shown, read from the record: in memory they would grow with the film."""
        times: list[int] = json.loads(self.record.read_text())["times"]
        return times


def segment_name(number: int) -> str:
    """Return the name of a segment's file in the work folder."""
    return f"{number:06d}.mkv"


def write_record(path: Path, times: list[int], reorder: int) -> Segment:
    """Record a segment whose file is in place; `times` are its frames' ticks in the order shown."""
    segment = Segment(path, len(times), times[0], times[-1], reorder, path.stat().st_size)
    write_json(segment.record, {"times": times, "reorder": reorder, "bytes": segment.bytes})
    return segment


def read_record(path: Path) -> Segment | None:
    """Read the segment in the file `path`; None if it or its record is missing or damaged, so that it is made again."""
    try:
        stored = json.loads(path.with_suffix(".json").read_text())
        times = stored["times"]
        segment = Segment(path, len(times), times[0], times[-1], stored["reorder"], stored["bytes"])
        return segment if path.stat().st_size == segment.bytes else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


# The work folder beside an output: finished segments, and what they were made from.

VERSION = 2
WORK_SUFFIX = ".safa-work"
JOURNAL = "journal.json"
PUBLISHED = "published"
"""The job's output under its name, among what it has made."""

OURS = re.compile(r"(\d{6,}|journal|probe)(\.(mkv|json))?(\.[0-9a-f]{32})?(\.part)?")
"""Names of the files in a work folder."""

CLUTTER = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
"""Names of files that systems put into every folder that is looked at."""


class Journal:
    """The finished part of a job. One process at a time."""

    def __init__(
        self, folder: Path, fingerprint: dict[str, Any], frames_per_segment: int, restart: bool = False
    ) -> None:
        """Open the work folder, or make it. What is unfinished or damaged in it is deleted.

        `fingerprint`: JSON-ready facts (input content, weights, settings) that must be the same for kept work to be
        used; otherwise JournalMismatch is raised, unless `restart` throws the kept work away. Raises OutputError
        where another process has the folder.
        """
        self.folder = folder
        self.frames_per_segment = frames_per_segment
        self.end: Fraction | None = None
        self.frames = 0
        """Output frames in finished segments."""
        self.share: dict[str, int | None] | None = None
        self._segments: dict[int, Segment] = {}
        self._ordered: list[Segment] | None = None
        self._outputs: dict[str, list[int]] = {}  # identities of what this job gave a name, by what it is
        self._checked: dict[str, Any] | None = None
        self._fingerprint = json.loads(json.dumps(fingerprint | {"frames per segment": frames_per_segment}))
        folder.mkdir(exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            if (folder / JOURNAL).exists():
                self._load(restart)
            self._sweep()
            self._save()
        except BaseException:
            self._lock.release()
            raise

    @property
    def segments(self) -> list[Segment]:
        """Return the finished segments in display order; some may be missing until all frames are there."""
        if self._ordered is None:  # every packet asks, and there may be thousands of segments
            self._ordered = [self._segments[number] for number in sorted(self._segments)]
        return self._ordered

    def segment(self, number: int) -> Segment:
        """Finished segment `number`."""
        return self._segments[number]

    def has(self, number: int) -> bool:
        """Return whether segment `number` is finished."""
        return number in self._segments

    def needs(self, frame: int) -> bool:
        """Return whether output frame `frame`, counted from 0, is still to be made."""
        return frame // self.frames_per_segment not in self._segments

    @property
    def resumable(self) -> bool:
        """Return whether the same job can go on from here: what came from a pipe is gone."""
        return bool(self._fingerprint.get("input") != PIPE_DIGEST)

    def kept(self) -> str:
        """Describe the kept work for messages."""
        if not self.resumable:
            return "nothing is kept, as a pipe cannot be read again"
        return f"{self.frames} finished frames are kept in {self.folder}"

    def segment_path(self, number: int) -> Path:
        """Return the path of segment `number` once it is finished."""
        return self.folder / segment_name(number)

    def add(self, path: Path, times: list[int], reorder: int) -> None:
        """Record a segment whose file is in place; `times` are its frames' ticks in the order shown."""
        self._take(int(path.stem), write_record(path, times, reorder))

    def _take(self, number: int, segment: Segment) -> None:
        before = self._segments.get(number)
        self.frames += segment.frames - (before.frames if before is not None else 0)
        self._segments[number], self._ordered = segment, None

    def close(self, end: Fraction) -> None:
        """Record that all frames are there; the last one is shown until `end` seconds."""
        if sorted(self._segments) != list(range(len(self._segments))):
            raise ValueError("a segment is missing")
        self.end = end
        self._save()

    def settle(self, share: dict[str, int | None]) -> None:
        """Record the memory that the job has for computing its frames: on it depends in which tiles that happens."""
        self.share = share
        self._save()

    def publish(self, temporary: Path, output: Path, replace: bool = False) -> None:
        """Give `temporary`, the whole output, its name (a folder of pictures that of the folder), and record that.

        What has that name is replaced where an earlier run of this job put it there, or with `replace`; anything else
        may have come while the job was running, and OutputError is raised. A folder with others' files always stays.
        """
        final = whole_output(output)
        if final.exists() and not self.has_made(PUBLISHED, final):
            is_folder = final.is_dir()
            if any(final.iterdir()) if is_folder else not replace:
                raise OutputError(
                    f"{final} was put there by something else while this was made; move it away and run the same "
                    f"command again; {self.kept()}."
                )
        self.note_made(PUBLISHED, temporary)
        if temporary.is_dir():
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            sync_folder(final.parent)
        else:
            publish(temporary, final)

    def has_made(self, kind: str, path: Path) -> bool:
        """Return whether `path` is what this job wrote there as `kind`, unchanged since."""
        return kind in self._outputs and os.path.lexists(path) and self._outputs[kind] == _identity(path)

    def note_made(self, kind: str, path: Path) -> None:
        """Record that `path` is this job's own: what it has renamed or is about to rename. It may be replaced later."""
        self._outputs[kind] = _identity(path)
        self._save()

    def put_aside(self, output: Path) -> Path:
        """Rename an output that failed its check, so that nothing under the asked-for name claims to be complete.

        An earlier one of this job is replaced, other files never: the name gets a number.
        """
        whole = whole_output(output)
        kind = f"failed {whole.name}"
        for aside in _failed_names(whole):
            if not os.path.lexists(aside) or self.has_made(kind, aside):
                break
        if aside.is_dir():  # a folder is not replaced by a rename
            shutil.rmtree(aside)
        os.replace(whole, aside)
        self.note_made(kind, aside)
        return aside

    def record_check(self, found: dict[str, Any]) -> None:
        """Record that the published output is what it should be (JSON-ready facts): all that is left is to remove the
        journal.
        """
        self._checked = found
        self._save()

    def check_of(self, output: Path) -> dict[str, Any] | None:
        """Return the recorded check of the output, if that is there unchanged: the journal was being removed."""
        return self._checked if self.has_made(PUBLISHED, whole_output(output)) else None

    def release(self) -> None:
        """Unlock the folder for other processes."""
        self._lock.release()

    def remove(self) -> None:
        """Delete the work folder and unlock it; files of others in it stay, and so does it then.

        The journal goes last: until then it shows which job the output belongs to.
        """
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_file() and path.name != JOURNAL and (OURS.fullmatch(path.name) or CLUTTER.fullmatch(path.name)):
                path.unlink()
        (self.folder / JOURNAL).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        self.release()

    def _save(self) -> None:
        value = {
            "version": VERSION,
            "fingerprint": self._fingerprint,
            "share": self.share,
            "end": None if self.end is None else str(self.end),
            "outputs": self._outputs,
            "checked": self._checked,
        }
        write_json(self.folder / JOURNAL, value)

    def _load(self, restart: bool) -> None:
        try:
            stored = json.loads((self.folder / JOURNAL).read_text())
            version, fingerprint, end = stored["version"], stored["fingerprint"], stored["end"]
            outputs, share, checked = _outputs_of(stored), stored.get("share"), stored.get("checked")
        except (ValueError, KeyError, TypeError, AttributeError):
            if restart:
                return
            raise JournalMismatch(f"the journal in {self.folder} is damaged; give --restart to start afresh.") from None
        if restart:
            self._outputs = outputs  # they may be replaced all the same
            return
        if version != VERSION:
            raise JournalMismatch(f"{self.folder} was made by another version; give --restart to start afresh.")
        changed = [
            name
            for name in sorted(fingerprint.keys() | self._fingerprint.keys())
            if fingerprint.get(name) != self._fingerprint.get(name)
        ]
        if changed:
            named = [f"{name} ({fingerprint.get(name)})" if name == "engine" else name for name in changed]
            raise JournalMismatch(
                f"the kept work in {self.folder} was made with another {' and '.join(named)}; "
                "run the earlier command again to go on, or give --restart to start afresh."
            )
        self.end = Fraction(end) if end else None
        self._outputs, self.share, self._checked = outputs, share, checked
        found = _recorded(self.folder)
        last = max(found, default=0)
        for number, segment in found.items():
            if segment is not None and (segment.frames == self.frames_per_segment or number == last):
                self._take(number, segment)

    def _sweep(self) -> None:
        """Delete everything that is neither the journal nor a counted segment."""
        known = {JOURNAL}
        for segment in self.segments:
            known |= {segment.path.name, segment.record.name}
        for path in self.folder.iterdir():
            if path.name in known or CLUTTER.fullmatch(path.name):
                continue
            if not OURS.fullmatch(path.name) or path.is_dir():
                raise OutputError(f"{self.folder} holds {path.name}, which safa did not make; move it away.")
            path.unlink()


def kept_frames(folder: Path) -> int:
    """Output frames in the finished segments of a work folder, of whatever job; the folder stays as it is."""
    if not (folder / JOURNAL).is_file():
        return 0
    return sum(segment.frames for segment in _recorded(folder).values() if segment is not None)


def kept_segments(output: Path) -> int:
    """Count the finished segments in the work folder of an output without reading them."""
    return sum(path.stem.isdigit() for path in work_folder(output).glob("*.json"))


def _recorded(folder: Path) -> dict[int, Segment | None]:
    """Every segment that has a record, by number; None for those that are damaged."""
    numbers = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())
    return {number: read_record(folder / segment_name(number)) for number in numbers}


def is_of_pipe(folder: Path) -> bool:
    """Return whether kept work in a work folder came from a pipe, so that no job can go on from it."""
    try:
        stored = json.loads((folder / JOURNAL).read_text())
        return bool(stored["fingerprint"]["input"] == PIPE_DIGEST)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def discard_checked(output: Path) -> None:
    """Remove the work folder of an output that has passed its check, where a crash has left some of it."""
    folder = work_folder(output)
    try:
        stored = json.loads((folder / JOURNAL).read_text())
        if not stored["checked"] or not is_published(output):
            return
        Journal(folder, {}, 1, restart=True).remove()
    except (OSError, ValueError, KeyError, TypeError, SafaError):
        return


def is_published(output: Path) -> bool:
    """Return whether the file under the output's name was put there by the job in the work folder beside it.

    Such a job was stopped before its check; its output is not finished, and may be replaced.
    """
    try:
        stored = json.loads((work_folder(output) / JOURNAL).read_text())
        return _outputs_of(stored).get(PUBLISHED) == _identity(whole_output(output))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _outputs_of(stored: dict[str, Any]) -> dict[str, list[int]]:
    published = stored.get("published")  # as earlier versions have it
    return dict(stored.get("outputs") or ({PUBLISHED: published} if published else {}))


def _failed_names(whole: Path) -> Iterator[Path]:
    yield whole.with_name(f"{whole.stem}.failed-check{whole.suffix}")
    for number in count(2):
        yield whole.with_name(f"{whole.stem}.failed-check-{number}{whole.suffix}")


def _identity(path: Path) -> list[int]:
    """Return size and time of the last change, which a rename keeps."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def work_folder(output: Path) -> Path:
    """Return the work folder of an output, in the same folder and so on the same disk."""
    output = whole_output(output)
    return output.with_name(output.name + WORK_SUFFIX)
