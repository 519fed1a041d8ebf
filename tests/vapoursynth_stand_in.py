"""The few calls of VapourSynth that examples/vapoursynth_filter.py makes, for where VapourSynth is not installed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

RGB, YUV, RGB24, YUV420P8 = 2, 3, "rgb24", "yuv420p8"


class Error(Exception):
    pass


class VideoFrame:
    def __init__(self, planes: list[np.ndarray], props: dict[str, object]) -> None:
        self.planes, self.props = planes, props

    def __getitem__(self, plane: int) -> np.ndarray:
        return self.planes[plane]

    def copy(self) -> VideoFrame:
        return VideoFrame([plane.copy() for plane in self.planes], dict(self.props))


class VideoNode:
    def __init__(self, made: list[Callable[[], VideoFrame]], width: int, height: int, family: int, fps: int) -> None:
        self.made, self.width, self.height, self.fps = made, width, height, fps
        self.format = SimpleNamespace(color_family=family)

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int | slice) -> VideoNode:
        return self._like(self.made[index] if isinstance(index, slice) else [self.made[index]])

    def __add__(self, other: VideoNode) -> VideoNode:
        return self._like(self.made + other.made)

    def __mul__(self, times: int) -> VideoNode:
        return self._like(self.made * times)

    def get_frame(self, n: int) -> VideoFrame:
        return self.made[n]()

    def _like(self, made: list[Callable[[], VideoFrame]], fps: int | None = None) -> VideoNode:
        return VideoNode(made, self.width, self.height, self.format.color_family, fps or self.fps)


def blank_clip(
    clip: VideoNode | None = None,
    width: int = 640,
    height: int = 480,
    format: str = RGB24,
    length: int = 240,
    fpsnum: int = 24,
    fpsden: int = 1,
    keep: bool = False,
) -> VideoNode:
    length, fps = (len(clip), clip.fps) if clip is not None else (length, fpsnum)
    frame = VideoFrame([np.zeros((height, width), np.uint8)] * 3, {"_DurationNum": 1, "_DurationDen": fps})
    return VideoNode([lambda: frame] * length, width, height, RGB if format == RGB24 else YUV, fps)


def interleave(clips: list[VideoNode]) -> VideoNode:
    made = [clip.made[n] for n in range(len(clips[0])) for clip in clips]
    return clips[0]._like(made, clips[0].fps * len(clips))


def modify_frame(clip: VideoNode, clips: list[VideoNode] | VideoNode, selector: Callable) -> VideoNode:
    def render(n: int) -> VideoFrame:
        frames = [one.get_frame(n) for one in clips] if isinstance(clips, list) else clips.get_frame(n)
        return selector(n=n, f=frames)

    return clip._like([lambda n=n: render(n) for n in range(len(clip))])


core = SimpleNamespace(std=SimpleNamespace(BlankClip=blank_clip, Interleave=interleave, ModifyFrame=modify_frame))
