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
    following = clip[1:] + clip[-1] if len(clip) > 1 else clip
    # VapourSynth must know in advance what an output frame needs: frames n // rate and n // rate + 1.
    first, second = (vs.core.std.Interleave([one] * rate) for one in (clip, following))
    blank = vs.core.std.BlankClip(first, width=4 * clip.width, height=4 * clip.height, keep=True)
    encoded, pairs, lock = Recent(3), Recent(2), threading.Lock()

    def render(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        result, (number, step) = f[0].copy(), divmod(n, rate)
        a, b, t = number, min(number + 1, len(clip) - 1), step / rate
        if f[1].props.get("_SceneChangeNext"):
            a = b = a if t < 0.5 else b
        with lock:  # VapourSynth asks from several threads
            frames = [encoded.get(k, lambda k=k: upscaler.encode(planes(f[1 + k - number]))) for k in (a, b)]
            picture = upscaler.at(pairs.get((a, b), lambda: upscaler.pair(*frames)), t if a != b else 0.0)
        for plane in range(3):
            np.copyto(np.asarray(result[plane]), picture[:, :, plane])
        for name, value in f[1].props.items():
            if not name.startswith("_Duration"):
                result.props[name] = value
        return result

    return vs.core.std.ModifyFrame(blank, [blank, first, second], render)


def planes(frame: vs.VideoFrame) -> np.ndarray:
    """A frame as ``H,W,3``."""
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)


class Recent:
    """The last few things made: neighbouring output frames share frames and pairs."""

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, {}

    def get(self, key: object, make: Callable[[], object]) -> object:
        if key not in self.kept:
            while len(self.kept) >= self.size:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = make()
        return self.kept[key]
