"""SAFA as a filter in a VapourSynth script (VapourSynth R57 or newer):

clip = core.resize.Bicubic(clip, format=vs.RGB24, matrix_in_s="709")
clip = core.misc.SCDetect(clip)  # optional: nothing is interpolated across the cuts it marks
clip = vapoursynth_filter.upscale(clip, rate=2)
"""

import threading
from collections.abc import Callable

import numpy as np
import vapoursynth as vs

import safa
from safa.video.windows import Span


def upscale(clip: vs.VideoNode, rate: int = 2, weights: str = "fast", device: str = "auto") -> vs.VideoNode:
    """Four times as wide and high and ``rate`` times as many frames; the duration stays, the last frame is held.

    Args:
        clip: RGB of 8 or 16 bits or floating point, of one size.
        rate: a whole number of at least 1.
        weights, device: as in ``safa.load``.
    """
    if clip.format is None or clip.format.color_family != vs.RGB or not clip.width:
        raise vs.Error("safa: the clip must be RGB and of one size; use resize with format=vs.RGB24 before.")
    upscaler = safa.load(weights, device)
    span, length = upscaler.span, len(clip)
    first = vs.core.std.Interleave([clip] * rate)
    blank = vs.core.std.BlankClip(first, width=4 * clip.width, height=4 * clip.height, keep=True)
    seen = [repeated[: len(first)] for repeated in windows(clip, span, rate)]
    encoded, joined, lock = Recent(2 * span.frames), Recent(2), threading.Lock()

    def render(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        result, (number, step) = f[0].copy(), divmod(n, rate)
        begin, near = number // span.length * span.length - span.margin, f[2:]
        low = high = number  # the frames of this scene, as far as the window reaches
        while low > max(begin, 0) and not near[low - 1 - begin].props.get("_SceneChangeNext"):
            low -= 1
        while high < min(begin + span.frames, length) - 1 and not near[high - begin].props.get("_SceneChangeNext"):
            high += 1
        with lock:  # VapourSynth asks from several threads
            scene = range(low, high + 1)
            frames = [encoded.get(k, lambda k=k: upscaler.encode(planes(near[k - begin]))) for k in scene]
            window = joined.get((low, high), lambda: upscaler.window(frames))
            # The last frame of a scene is held.
            picture = upscaler.at(window, step / rate if number < high else 0.0, pair=number - low)
        for plane in range(3):
            np.copyto(np.asarray(result[plane]), picture[:, :, plane])
        for name, value in f[1].props.items():
            if not name.startswith("_Duration"):
                result.props[name] = value
        return result

    return vs.core.std.ModifyFrame(blank, [blank, first, *seen], render)


def windows(clip: vs.VideoNode, span: Span, rate: int) -> list[vs.VideoNode]:
    """For each place in a window a clip that shows its frame for all output frames made from the window.

    VapourSynth must know in advance what an output frame needs. Beyond its ends the clip is repeated.
    """
    number = -(-len(clip) // span.length)
    padded = clip[0] * span.margin + clip if span.margin else clip
    padded = padded + clip[-1] * (number * span.length + span.frames)
    places = [padded[place :: span.length][:number] for place in range(span.frames)]
    return [vs.core.std.Interleave([frames] * (span.length * rate)) for frames in places]


def planes(frame: vs.VideoFrame) -> np.ndarray:
    """A frame as ``H,W,3``."""
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)


class Recent:
    """The last few things made: neighbouring output frames share frames and windows."""

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, {}

    def get(self, key: object, make: Callable[[], object]) -> object:
        if key not in self.kept:
            while len(self.kept) >= self.size:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = make()
        return self.kept[key]
