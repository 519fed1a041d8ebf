"""The work folder beside an output: finished segments, and what they were made from.

    journal.json     fingerprint of the job; its share of the memory; the end time once all frames are there; the output
                     once it has its name
    000000.mkv       segment 0: a closed Matroska file with encoded video only
    000000.json      its record: frame times and size; a segment counts once its record exists
    *.part           unfinished; deleted on the next start

Every segment holds the same number of frames, the last one perhaps fewer, so output frame i belongs to segment
i // frames_per_segment and segments may be finished in any order. Every file appears by a rename after its bytes
are on the disk, the record after its segment. So at any moment the folder holds a whole number of finished segments,
and a run that was killed loses only those it was working on.
"""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

from safa.errors import JournalMismatch, OutputError
from safa.video.files import FolderLock, publish, sync_folder, write_json
from safa.video.names import whole_output
from safa.video.write.segment_record import Segment, read_record, segment_name, write_record

VERSION = 2
WORK_SUFFIX = ".safa-work"
JOURNAL = "journal.json"


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
        self._segments: dict[int, Segment] = {}
        self.share: dict[str, int | None] | None = None
        self._published: list[int] | None = None
        self._fingerprint = json.loads(json.dumps(fingerprint | {"frames per segment": frames_per_segment}))
        folder.mkdir(exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            if (folder / JOURNAL).exists() and not restart:
                self._load()
            self._sweep()
            self._save()
        except BaseException:
            self._lock.release()
            raise

    @property
    def segments(self) -> list[Segment]:
        """The finished segments in the order shown; some may be missing between them until all frames are there."""
        return [self._segments[number] for number in sorted(self._segments)]

    @property
    def frames(self) -> int:
        """Output frames in finished segments."""
        return sum(segment.frames for segment in self._segments.values())

    def segment(self, number: int) -> Segment:
        """Finished segment `number`."""
        return self._segments[number]

    def has(self, number: int) -> bool:
        """Whether segment `number` is finished."""
        return number in self._segments

    def wants(self, frame: int) -> bool:
        """Whether output frame `frame`, counted from 0, is still to be made."""
        return frame // self.frames_per_segment not in self._segments

    def kept(self) -> str:
        """For messages: what is safe."""
        return f"{self.frames} finished frames are kept in {self.folder}"

    def segment_path(self, number: int) -> Path:
        """Where segment `number` lies once it is finished."""
        return self.folder / segment_name(number)

    def add(self, path: Path, times: list[int], reorder: int) -> None:
        """Record a segment whose file is in place; `times` are its frames' ticks in the order shown."""
        self._segments[int(path.stem)] = write_record(path, times, reorder)

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
        if final.exists() and self._published != _identity(final):
            is_folder = final.is_dir()
            if any(final.iterdir()) if is_folder else not replace:
                raise OutputError(
                    f"{final} was put there by something else while this was made; move it away and run the same "
                    f"command again; {self.kept()}."
                )
        self._published = _identity(temporary)
        self._save()
        if temporary.is_dir():
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            sync_folder(final.parent)
        else:
            publish(temporary, final)

    def release(self) -> None:
        """Unlock the folder for other processes."""
        self._lock.release()

    def remove(self) -> None:
        """Delete the work folder and unlock it. The journal goes last: until then it shows which job the output belongs
        to.
        """
        for path in self.folder.iterdir():
            if path.name != JOURNAL and path.is_file():
                path.unlink()
        shutil.rmtree(self.folder)
        self.release()

    def _save(self) -> None:
        value = {
            "version": VERSION,
            "fingerprint": self._fingerprint,
            "share": self.share,
            "end": None if self.end is None else str(self.end),
            "published": self._published,
        }
        write_json(self.folder / JOURNAL, value)

    def _load(self) -> None:
        try:
            stored = json.loads((self.folder / JOURNAL).read_text())
            version, fingerprint, end = stored["version"], stored["fingerprint"], stored["end"]
            published, share = stored.get("published"), stored.get("share")
        except (ValueError, KeyError, TypeError):
            raise JournalMismatch(f"the journal in {self.folder} is damaged; give --restart to start afresh.") from None
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
        self._published, self.share = published, share
        found = _recorded(self.folder)
        last = max(found, default=0)
        for number, segment in found.items():
            if segment is not None and (segment.frames == self.frames_per_segment or number == last):
                self._segments[number] = segment

    def _sweep(self) -> None:
        """Delete everything that is neither the journal nor a counted segment."""
        known = {JOURNAL}
        for segment in self.segments:
            known |= {segment.path.name, segment.record.name}
        for path in self.folder.iterdir():
            if path.name not in known:
                if not (path.suffix == ".part" or path.stem.isdigit()):
                    raise OutputError(f"{self.folder} holds {path.name}, which safa did not make; move it away.")
                path.unlink()


def kept_frames(folder: Path) -> int:
    """Output frames in the finished segments of a work folder, of whatever job; the folder stays as it is."""
    if not (folder / JOURNAL).is_file():
        return 0
    return sum(segment.frames for segment in _recorded(folder).values() if segment is not None)


def kept_segments(output: Path) -> int:
    """How many finished segments the work folder of an output holds; none are read."""
    return sum(path.stem.isdigit() for path in work_folder(output).glob("*.json"))


def _recorded(folder: Path) -> dict[int, Segment | None]:
    """Every segment that has a record, by number; None for those that are damaged."""
    numbers = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())
    return {number: read_record(folder / segment_name(number)) for number in numbers}


def is_published(output: Path) -> bool:
    """Whether the file under the output's name was put there by the job in the work folder beside it.

    Such a job was stopped before its check; its output is not finished, and may be replaced.
    """
    try:
        published = json.loads((work_folder(output) / JOURNAL).read_text())["published"]
        return published is not None and published == _identity(whole_output(output))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _identity(path: Path) -> list[int]:
    """What a rename does not change: size and time of the last change."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def work_folder(output: Path) -> Path:
    """The work folder that belongs to an output: beside it (a folder of pictures is one), so on the same disk."""
    output = whole_output(output)
    return output.with_name(output.name + WORK_SUFFIX)
