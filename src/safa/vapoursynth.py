"""Larger and smoother clips inside a VapourSynth script; needs the package ``vapoursynth`` (Python 3.12 or newer).

Example:
    import vapoursynth as vs
    from safa.vapoursynth import upscale

    clip = vs.core.bs.VideoSource("in.mp4")
    upscale(clip, rate=2, scale=4).set_output()
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from safa.checkpoint import DEFAULT, load_checkpoint, with_detail
from safa.engine.images import Array
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.upscaler.resize import ScaleFactor, result_size
from safa.upscaler.state_cache import EncodedFrame
from safa.upscaler.upscaler import Upscaler
from safa.video.colour import UNSPECIFIED, Colour
from safa.video.windows import Span

try:
    import vapoursynth as vs
except ImportError as error:
    raise SafaError(
        f"safa.vapoursynth needs VapourSynth, which cannot be imported ({error}): pip install vapoursynth."
    ) from error


def upscale(
    clip: vs.VideoNode,
    rate: int = 2,
    scale: ScaleFactor = SCALE,
    weights: str | Path = DEFAULT,
    device: str = "auto",
    detail: float | None = None,
) -> vs.VideoNode:
    """Enlarge a clip and raise its frame rate; its duration stays.

    Nothing is interpolated across frames marked by ``_SceneChangePrev`` (or ``_SceneChangeNext`` on the frame before),
    as ``misc.SCDetect`` does: the last frame of a scene is held, as is that of the clip. Where frames have
    ``_DurationNum`` and ``_DurationDen``, those of the result divide them by ``rate``, so a variable frame rate stays.

    Args:
        clip: constant format and size, progressive; RGB, YUV or gray, integer or floating point. Frames that are not
            RGB of 8, 16 or floating-point bits are converted and back by VapourSynth's ``resize``, by the colour
            properties of the first frame. A missing ``_Matrix`` is BT.709 from 720 lines, otherwise BT.601.
        rate: output frames per frame, a whole number of at least 1.
        scale: factor of width and height, from 1 to 4.
        weights: name of shipped weights, or a file.
        device: as in ``safa.load``.
        detail: sharpness for the weights ``fast`` and ``real``, from 0 (truest) to 1; the weights' own if None.

    Returns:
        A clip of the same format with ``rate`` times as many frames, for random access.

    Raises:
        SafaError: an argument is out of range, the clip is of variable format or size or interlaced, or its format
            cannot have the size asked for. Frames that turn out to be interlaced later raise ``vs.Error``.
    """
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise SafaError(f"The rate is {rate!r}; it must be a whole number of at least 1.")
    _check_clip(clip)
    size = result_size(clip.height, clip.width, scale, None)
    _check_size(clip.format, size)
    checkpoint = load_checkpoint(weights if detail is None else with_detail(str(weights), detail))
    upscaler = Upscaler(checkpoint, device)
    first = clip.get_frame(0)
    _check_progressive(first.props, 0)
    colours = _colours(first.props, clip)
    rgb = _to_rgb(clip, colours)
    return _from_rgb(_render(rgb, upscaler, rate, size), clip.format, colours)


def _check_clip(clip: vs.VideoNode) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise SafaError(f"The clip is a {type(clip).__name__}; it must be a VapourSynth video clip.")
    if not clip.width or clip.format is None or clip.format.color_family == vs.UNDEFINED:
        raise SafaError("The clip changes its format or size; convert it to one of both with core.resize first.")
    if clip.format.color_family not in (vs.RGB, vs.YUV, vs.GRAY):
        raise SafaError(f"The clip is {clip.format.name}; it must be RGB, YUV or gray.")


def _check_size(kind: vs.VideoFormat, size: tuple[int, int]) -> None:
    height, width = size
    if height % (1 << kind.subsampling_h) or width % (1 << kind.subsampling_w):
        raise SafaError(
            f"{kind.name} cannot have {width}x{height} pixels; choose another scale, or convert the clip first."
        )


def _check_progressive(props: Mapping[str, Any], number: int) -> None:
    if props.get("_FieldBased", 0):
        raise SafaError(
            f"Frame {number} is interlaced; deinterlace the clip first or, if that is wrong, use "
            "core.std.SetFieldBased(clip, 0)."
        )


def _colours(props: Mapping[str, Any], clip: vs.VideoNode) -> dict[str, int]:
    """Arguments of ``resize`` that say how the clip stores colours; none for RGB."""
    if clip.format.color_family == vs.RGB:
        return {}
    matrix = int(props.get("_Matrix", UNSPECIFIED))
    if matrix == UNSPECIFIED:
        known = Colour(*(int(props.get(name, UNSPECIFIED)) for name in ("_Primaries", "_Transfer")))
        matrix = known.resolved(clip.height).matrix
    # ``_Range`` counts the other way round than ``_ColorRange``, its name before VapourSynth 74.
    full = int(props["_Range"]) == 1 if "_Range" in props else props.get("_ColorRange", 1) == 0
    colours = {"matrix": matrix, "range": int(full)}
    if clip.format.subsampling_w or clip.format.subsampling_h:
        colours["chromaloc"] = int(props.get("_ChromaLocation", 0))
    return colours


def _to_rgb(clip: vs.VideoNode, colours: dict[str, int]) -> vs.VideoNode:
    """The clip in a format whose planes are arrays that the network takes."""
    kind = clip.format
    if kind.color_family == vs.RGB and (kind.sample_type == vs.FLOAT or kind.bits_per_sample in (8, 16)):
        return clip
    # 16 bits for YUV of 8 as well: rounded on the way, its values would not come back as they were.
    target = vs.RGBS if kind.sample_type == vs.FLOAT else vs.RGB48
    return clip.resize.Bicubic(format=target, **{f"{name}_in": value for name, value in colours.items()})


def _from_rgb(clip: vs.VideoNode, kind: vs.VideoFormat, colours: dict[str, int]) -> vs.VideoNode:
    return clip if clip.format.id == kind.id else clip.resize.Bicubic(format=kind.id, **colours)


def _render(clip: vs.VideoNode, upscaler: Upscaler, rate: int, size: tuple[int, int]) -> vs.VideoNode:
    """``clip``, which is RGB, at ``rate`` times its rate and of ``size`` (height, width)."""
    span, last = upscaler.span, len(clip) - 1
    repeated = vs.core.std.Interleave([clip] * rate)
    blank = vs.core.std.BlankClip(repeated, width=size[1], height=size[0], keep=True)
    # Requests come from several threads: around the border of two windows in any order.
    pixels = clip.width * clip.height
    room = upscaler.budget.pixels(upscaler.engine.bytes_per_pixel(span.frames), pixels)
    windows = _Recent(2 if room >= 2 * pixels else 1)
    encoded, lock = _Recent(2 * span.frames), threading.Lock()

    def encode(frame: vs.VideoFrame) -> EncodedFrame:
        return upscaler.encode(_pixels(frame))

    def render(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        number, step = divmod(n, rate)
        begin = _window_of(number, last, span) * span.length - span.margin
        near = {k: f[2 + k - begin] for k in range(max(begin, 0), min(begin + span.frames - 1, last) + 1)}
        _check_progressive(near[number].props, number)
        start, end = _scene(near, number)
        ends = number == end
        place, t = number - start, 0.0 if ends else step / rate
        if number == last and place:
            # As in a stream: the end of the last pair rather than a frame by itself.
            place, t = place - 1, 1.0
        scene = range(start, end + 1)
        with lock:  # an upscaler serves one thread at a time
            frames = [encoded.get(k, partial(encode, near[k])) for k in scene]
            window = windows.get((start, end), lambda: upscaler.window(frames, _times([near[k] for k in scene])))
            (picture,) = upscaler.pictures(window, [(place, t)], size=size)
        result = f[0].copy()
        for plane in range(3):
            np.copyto(np.asarray(result[plane]), picture[:, :, plane], casting="same_kind")
        _set_props(result.props, f[1].props, step, rate, clip.fps)
        return result

    return vs.core.std.ModifyFrame(blank, [blank, repeated, *_window_clips(clip, span, rate)], render)


def _window_of(number: int, last: int, span: Span) -> int:
    """Number of the window that frame ``number`` is rendered from; the clip's last frame ends the one before it."""
    return max(0, min(number, last - 1)) // span.length


def _window_clips(clip: vs.VideoNode, span: Span, rate: int) -> list[vs.VideoNode]:
    """Return for each index in a window a clip with the frame there for each output frame.

    VapourSynth has to know beforehand which frames an output frame is made from. Places beyond the ends of the clip
    repeat its first or last frame.
    """
    last = len(clip) - 1
    count = _window_of(last, last, span) + 1
    padded = clip[-1] * (count * span.length + span.frames)
    padded = clip[0] * span.margin + clip + padded if span.margin else clip + padded
    clips = []
    for place in range(span.frames):
        frames = padded[place :: span.length][:count]
        outputs = vs.core.std.Interleave([frames] * (span.length * rate))
        clips.append((outputs + frames[-1] * rate)[: len(clip) * rate])
    return clips


def _scene(near: Mapping[int, vs.VideoFrame], number: int) -> tuple[int, int]:
    """First and last of the frames ``near`` that are of one scene with frame ``number``."""

    def cut_before(k: int) -> bool:
        return bool(near[k].props.get("_SceneChangePrev") or near[k - 1].props.get("_SceneChangeNext"))

    start = end = number
    while start - 1 in near and not cut_before(start):
        start -= 1
    while end + 1 in near and not cut_before(end + 1):
        end += 1
    return start, end


def _duration(props: Mapping[str, Any]) -> Fraction | None:
    """Seconds that a frame is shown, where its properties say so."""
    above, below = int(props.get("_DurationNum", 0)), int(props.get("_DurationDen", 0))
    return Fraction(above, below) if above > 0 and below > 0 else None


def _times(frames: list[vs.VideoFrame]) -> list[Fraction] | None:
    """Times of consecutive frames in seconds from the first; None where durations are missing."""
    durations = [duration for frame in frames[:-1] if (duration := _duration(frame.props)) is not None]
    return list(itertools.accumulate(durations, initial=Fraction(0))) if len(durations) == len(frames) - 1 else None


def _pixels(frame: vs.VideoFrame) -> Array:
    """Return a copy of an RGB frame as ``H,W,3``; half precision becomes float32."""
    pixels = np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels


def _set_props(
    target: vs.FrameProps, source: Mapping[str, Any], step: int, rate: int, frames_per_second: Fraction
) -> None:
    """Give the output frame ``step`` after a source frame that frame's properties, with times and scene changes of its
    own. ``source`` has the duration of the output frame already.
    """
    for name, value in source.items():
        if name != "_Alpha":  # a frame, of the source's size
            target[name] = value
    duration = _duration(source)
    if duration is None and frames_per_second:
        duration = 1 / (Fraction(frames_per_second) * rate)
    if duration is not None:
        target["_DurationNum"], target["_DurationDen"] = duration.numerator, duration.denominator
        if "_AbsoluteTime" in source:
            target["_AbsoluteTime"] = float(source["_AbsoluteTime"] + step * duration)
    if step and "_SceneChangePrev" in source:
        target["_SceneChangePrev"] = 0
    if step < rate - 1 and "_SceneChangeNext" in source:
        target["_SceneChangeNext"] = 0


class _Recent:
    """The values that were used last, by key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``, made where it is not kept."""
        if key not in self._values:
            while len(self._values) >= self._size:
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]
