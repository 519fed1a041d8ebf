"""Scene cuts and flashes, found on the source frames while they stream by.

Two frames belong to different scenes when neither motion nor brightness explains the difference:
- they correlate badly even after one is warped onto the other by a coarse optical flow; correlation does not
  react to fades, moderate flashes and exposure changes, and the warp compensates ordinary motion;
- *and* their colour histograms overlap little; histograms change little in pans, however fast;
- *and* the difference stands out from those before and after; steps of a fade, a dissolve or a whip pan do not.
A flash bleaches a few frames and then the old scene is back, which a look ahead shows.

Written for this package because the usual library, PySceneDetect, needs opencv-python, which conflicts with
opencv-python-headless, and reports every flash and fade step as a cut. Thresholds were set on real clips: within a
scene correlation and overlap stay above 0.92; across scenes they are below 0.82 and 0.6, 98 % below 0.61 and 0.52.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import cv2
import numpy as np

Item = TypeVar("Item")

WIDTH, HEIGHT = 96, 54  # all frames are judged at this size
CORRELATION = 0.82
# Histogram overlap below the first number, and a difference this many times that of the neighbouring intervals.
# The second pair is for cuts between cameras in one room: same colours, but a lone jump in a calm neighbourhood.
OVERLAP = ((0.66, 1.8), (0.82, 6.0))
LOOK = 3  # frames before and after; also the longest flash
BLEACH = 20.0  # change of mean brightness, of 255, that makes a short change a flash


class Change(Enum):
    """Change from a frame to the next."""

    NONE = "none"
    CUT = "cut"
    FLASH = "flash"


def with_changes(frames: Iterable[Item], image_of: Callable[[Item], np.ndarray]) -> Iterator[tuple[Item, Change]]:
    """Yield each frame with the change from the one before, `LOOK` frames late.

    `image_of` gives a frame's picture, H,W,3 or H,W,4 RGB, uint8 or uint16. Constant memory: 2 * LOOK + 1 frames'
    thumbnails and LOOK + 1 frames.
    """
    detector = _Detector()
    waiting: deque[Item] = deque()
    for frame in frames:
        waiting.append(frame)
        detector.push(image_of(frame))
        if len(waiting) > LOOK:
            yield waiting.popleft(), detector.pop()
    while waiting:
        yield waiting.popleft(), detector.pop()


@dataclass(frozen=True)
class _Thumbnail:
    """A frame at 96x54: RGB, luma, blurred RGB as floats."""

    rgb: np.ndarray
    luma: np.ndarray
    smooth: np.ndarray


@dataclass(frozen=True)
class _Difference:
    """Difference of two frames: correlation after warping, histogram overlap, mean difference after warping."""

    correlation: float
    overlap: float
    distance: float

    def is_scene_change(self, neighbours: float) -> bool:
        """Return whether this is a scene change, where the difference in neighbouring intervals is `neighbours`."""
        return self.correlation < CORRELATION and any(
            self.overlap < overlap and self.distance > prominence * neighbours for overlap, prominence in OVERLAP
        )


class _Detector:
    """Judges the interval before the oldest frame that has not been popped, from LOOK frames on either side."""

    def __init__(self) -> None:
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        self._grid = np.stack([x, y], -1)
        self._frames: deque[_Thumbnail] = deque()  # up to LOOK popped ones, then the others
        self._steps: deque[_Difference] = deque()  # step k lies between frames k and k + 1
        self._popped = 0

    def push(self, image: np.ndarray) -> None:
        thumbnail = _thumbnail(image)
        if self._frames:
            self._steps.append(self._difference(self._frames[-1], thumbnail))
        self._frames.append(thumbnail)

    def pop(self) -> Change:
        change = self._change(self._popped) if self._popped else Change.NONE
        self._popped += 1
        if self._popped > LOOK + 1:
            self._frames.popleft()
            self._steps.popleft()
            self._popped -= 1
        return change

    def _change(self, number: int) -> Change:
        """Return the change from frame number - 1 to number."""
        step = self._steps[number - 1]
        if not step.is_scene_change(0.0):
            return Change.NONE
        if self._is_flash(number):
            return Change.FLASH
        # The calmer of two on each side, so that another cut close by does not hide this one.
        distances = [other.distance for other in self._steps]
        before, after = distances[max(0, number - 3) : number - 1], distances[number : number + 2]
        neighbours = max(min(before, default=0.0), min(after, default=0.0))
        return Change.CUT if step.is_scene_change(neighbours) else Change.NONE

    def _is_flash(self, number: int) -> bool:
        """Return whether the old scene is back soon after frame `number`, or was there shortly before number - 1."""
        before, after = self._frames[number - 1], self._frames[number]
        if abs(float(before.luma.mean()) - float(after.luma.mean())) < BLEACH:
            return False
        later = range(number + 1, min(number + LOOK, len(self._frames) - 1) + 1)
        earlier = range(max(0, number - 1 - LOOK), number - 1)
        return any(self._same_scene(before, self._frames[k]) for k in later) or any(
            self._same_scene(self._frames[k], after) for k in earlier
        )

    def _same_scene(self, first: _Thumbnail, second: _Thumbnail) -> bool:
        return not self._difference(first, second).is_scene_change(0.0)

    def _difference(self, first: _Thumbnail, second: _Thumbnail) -> _Difference:
        flow = self._flow.calc(first.luma, second.luma, None)
        x, y = cv2.split(self._grid + flow)
        warped = cv2.remap(second.rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # One mean for all three channels: a change of hue counts, a change of brightness does not.
        smooth = _smooth(warped)
        a, b = first.smooth - first.smooth.mean(), smooth - smooth.mean()
        # The constant keeps noise on a flat frame from counting as structure.
        correlation = (a * b).mean() / np.sqrt(((a * a).mean() + 4) * ((b * b).mean() + 4))
        # Dark scenes would share the few lowest bins; both frames are brightened alike.
        gain = 255 / float(np.clip(max(np.percentile(first.luma, 99), np.percentile(second.luma, 99)), 48, 255))
        overlap = np.minimum(_histogram(first.rgb, gain), _histogram(second.rgb, gain)).sum()
        distance = float(cv2.absdiff(first.rgb, warped).mean())
        return _Difference(float(correlation), float(overlap), distance)


def _thumbnail(image: np.ndarray) -> _Thumbnail:
    rgb: np.ndarray = np.asarray(cv2.resize(image[..., :3], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    if rgb.dtype == np.uint16:
        rgb = (rgb // 257).astype(np.uint8)
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return _Thumbnail(rgb, luma, _smooth(rgb))


def _smooth(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 1.0), np.float32)


def _histogram(rgb: np.ndarray, gain: float) -> np.ndarray:
    """Shares of 8 x 8 x 8 colour bins; their sum is 1."""
    bright = cv2.convertScaleAbs(rgb, alpha=gain)
    return np.asarray(cv2.calcHist([bright], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)) / (WIDTH * HEIGHT)
