"""The interface of everything that frames are read from: video files, folders of pictures, standard input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from safa.video.info import Frame, VideoInfo


class FrameSource(ABC):
    """Frames with exact times, read from start to end in constant memory. Use as a context manager.

    Attributes:
        is_folder: whether the source is a folder of pictures, which have no motion to seek by and no sound.
        path: of the file or folder, "-" for standard input.
        info: description of the source as its first selected frame shows it.
        origin: time of the file, in seconds, at which `Frame.time` is 0.
        is_cut: whether a start or an end was chosen.
        problems: sentences about what is missing or was repaired; complete once `frames` is exhausted.
    """

    is_folder: ClassVar[bool] = False
    path: Path
    info: VideoInfo
    origin: Fraction
    is_cut: bool
    problems: list[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def frames(self, alpha: bool = True) -> Iterator[Frame]:
        """Yield the selected frames in order; can be iterated only once.

        Args:
            alpha: keep an alpha channel; without it frames have three channels throughout.
        """

    @abstractmethod
    def times(self) -> list[Fraction]:
        """Return the times of the selected frames and the end of the last one, in seconds, without decoding any.

        Empty where a frame has no time, or where the source can be read only once.
        """

    @abstractmethod
    def close(self) -> None:
        """Close what is open. Iterating further is an error."""
