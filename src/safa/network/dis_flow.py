"""Classical optical flow between two frames: dense inverse search (OpenCV's DIS), helped where it is blind.

DIS searches from coarse to fine, and its coarsest level follows the frame's size: on small frames it misses motion of
more than a sixth of the width altogether. So motion that large parts of the frame share is found by phase correlation
as well; DIS runs again on frames shifted by it, and each pixel takes the flow that explains it better. So do thin
things that stand still before what moves, such as subtitles, which DIS takes along. What leaves the
frame or is hidden in the other one cannot be found at all; there the flow back tells, where it is sure. Frames before
and after the two tell more (``motion_between``).

Exported networks carry a copy of this file, so it needs NumPy and OpenCV alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# DIS builds a pyramid of 8-pixel patches; below this size it has nothing to match and OpenCV raises.
SMALLEST_SIDE = 32
# OpenCV's warps take no longer sides.
LONGEST_SIDE = 32766
# Shared motion up to this many pixels is left to DIS alone.
SMALL_SHIFT = 2
# How many shared motions are looked at, and the share of the frame that one must explain better to be followed.
MOTIONS, LEAST_SHARE = 4, 0.02
# Side of the window in which two flows are compared, in pixels.
WINDOW = 9
# Side of the window in which standing still is compared with a flow of more than so many pixels.
STILL_WINDOW, SWIFT = 3, 1.5
# How far there and back may end from where it began: pixels, or as a share of the way.
ASTRAY, ASTRAY_SHARE = 1.0, 0.1
# Acceleration is averaged over about this many pixels.
NEARBY = 1.5

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
FlowPair = tuple[Flow, Flow]

# OpenCV gives up Python's lock while it computes, and an estimator works in memory of its own: each thread needs one.
_estimators = threading.local()


def _estimator() -> cv2.DISOpticalFlow:
    estimator = getattr(_estimators, "estimator", None)
    if estimator is None:
        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # Frames are enlarged twice, and the search ends one level above them: at the frames' own size.
        estimator.setFinestScale(1)
        estimator.setPatchSize(8)
        estimator.setPatchStride(4)
        estimator.setGradientDescentIterations(12)
        _estimators.estimator = estimator
    return estimator


def classical_flow(frame0: NDArray[np.uint8], frame1: NDArray[np.uint8]) -> Flow:
    """Classical flow from ``frame0`` to ``frame1``.

    Args:
        frame0, frame1: ``H,W,3`` RGB uint8, of the same size.

    Returns:
        ``H,W,2`` float32, x then y, in pixels: what ``frame0`` shows at ``x`` is in ``frame1`` at ``x + flow(x)``.
    """
    height, width = frame0.shape[:2]
    grey0, grey1 = _grey(frame0), _grey(frame1)
    fine0, fine1 = _twice(grey0), _twice(grey1)
    y, x = np.mgrid[: grey0.shape[0], : grey0.shape[1]].astype(np.float32)

    def error_of(shown: Grey, window: int) -> NDArray[np.float32]:
        """Mean absolute difference around each pixel of the first frame."""
        return cv2.boxFilter(cv2.absdiff(grey0, shown).astype(np.float32), -1, (window, window))  # type: ignore[return-value]

    def error_along(flow: Flow, window: int = WINDOW) -> NDArray[np.float32]:
        """Return the error to the second frame along ``flow``."""
        warped = cv2.remap(grey1, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return error_of(warped, window)  # type: ignore[arg-type]

    flow = _dis(fine0, fine1)
    error = error_along(flow)
    for shift in shared_shifts(grey0, grey1):
        alike = error_along(np.broadcast_to(np.array(shift, np.float32), flow.shape))
        # A whole number of pixels explains what moved by a fraction more only roughly: hence the allowance.
        if np.mean(alike < 0.7 * error - 1) < LEAST_SHARE:
            continue
        shifted = _dis(fine0, _shifted(fine1, (2 * shift[0], 2 * shift[1]))) + np.array(shift, np.float32)
        error_shifted = error_along(shifted)
        np.copyto(flow, shifted, where=(error_shifted < error)[..., None])
        error = np.minimum(error, error_shifted)
    swift = (flow**2).sum(axis=-1) > SWIFT**2
    if swift.any():
        flow[swift & (error_of(grey1, STILL_WINDOW) < 0.7 * error_along(flow, STILL_WINDOW) - 1)] = 0
    return np.ascontiguousarray(flow[:height, :width])


def flow_both_ways(frame0: NDArray[np.uint8], frame1: NDArray[np.uint8]) -> FlowPair:
    """Classical flow from ``frame0`` to ``frame1`` and from that back, ``reconciled``; as in ``classical_flow``."""
    return reconciled(classical_flow(frame0, frame1), classical_flow(frame1, frame0))


def reconciled(forward: Flow, backward: Flow) -> FlowPair:
    """Two flows of opposite direction, ``H,W,2`` each, with each one's unsure places taken from the other.

    A place is sure if its flow stays inside the frame and the other flow leads back from there. Where one is not and
    the other is at the same place, it becomes the other's opposite: in a pan that is most of what enters and leaves.
    """
    sure, sure_back = _leads_back(forward, backward), _leads_back(backward, forward)
    return (
        np.where((sure_back & ~sure)[..., None], -backward, forward),
        np.where((sure & ~sure_back)[..., None], -forward, backward),
    )


def motion_between(
    before: FlowPair | None, pair: FlowPair, after: FlowPair | None, gaps: Sequence[float] = (1, 1)
) -> tuple[Flow, Flow, Flow]:
    """Flow between two frames and back with what the frames around them tell, and its acceleration; ``H,W,2`` each.

    What one frame hides goes on as it came: where flow is unsure and that to the frame on the other side is sure, it
    becomes that one's opposite. How motion gets faster, slower or turns follows from both (after QVI, Xu et al.,
    NeurIPS 2019), in pixels for the square of the time between the two frames; it is 0 where it cannot be told, and
    half of what one side alone tells, which is often wrong.

    Args:
        before: flows from the frame before the two to the first of them and back; None if there is none.
        pair: flows between the two.
        after: flows from the second to the frame after it and back; None if there is none.
        gaps: how long it is from the frame before to the first and from the second to the frame after, where it is 1
            between the two.
    """
    ways = []
    change: Flow = np.zeros_like(pair[0])
    for onward, back, beside, gap in ((*pair, before and before[::-1], gaps[0]), (*pair[::-1], after, gaps[1])):
        if beside is not None:
            away = beside[0] / np.float32(gap)
            sure, sure_beside = _leads_back(onward, back), _leads_back(*beside)
            change += (onward + away) * ((sure & sure_beside) / np.float32(1 + gap))[..., None]
            onward = np.where((sure_beside & ~sure)[..., None], -away, onward)
        ways.append(onward)
    # Both frames' places are taken for the same: acceleration differs less from place to place than flow does.
    return ways[0], ways[1], cv2.GaussianBlur(change, (0, 0), NEARBY)  # type: ignore[return-value]


def _leads_back(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    """Mask ``H,W`` of pixels whose ``flow`` ends inside the frame and from there ``back`` leads near its start."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    returned = flow + cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    astray, way = (one[..., 0] ** 2 + one[..., 1] ** 2 for one in (returned, flow))
    return inside & (astray <= np.maximum(ASTRAY**2, ASTRAY_SHARE**2 * way))


def shared_shifts(frame0: Grey, frame1: Grey) -> list[tuple[int, int]]:
    """Motions (x, y) in whole pixels that large parts of two frames ``H,W`` may share, the likeliest first.

    These are peaks of the phase correlation; motion of at most ``SMALL_SHIFT`` pixels is left out.
    """
    window = cv2.createHanningWindow(frame0.shape[::-1], cv2.CV_32F)
    spectra = [np.fft.rfft2((frame - frame.mean(dtype=np.float64)) * window) for frame in (frame0, frame1)]
    product = spectra[1] * spectra[0].conj()
    surface: NDArray[Any] = np.fft.irfft2(product / (np.abs(product) + 1e-3), s=frame0.shape).astype(np.float32)
    surface = cv2.GaussianBlur(np.pad(surface, 3, mode="wrap"), (0, 0), 1)[3:-3, 3:-3]
    height, width = surface.shape
    shifts = []
    for _ in range(MOTIONS):
        place = int(surface.argmax())
        y, x = divmod(place, width)
        if surface[y, x] <= 0:
            break
        rows, columns = (np.arange(-SMALL_SHIFT, SMALL_SHIFT + 1) + at for at in (y, x))
        surface[np.ix_(rows % height, columns % width)] = 0
        shift = x - width if 2 * x > width else x, y - height if 2 * y > height else y
        if max(map(abs, shift)) > SMALL_SHIFT:
            shifts.append(shift)
    return shifts


def _grey(frame: NDArray[np.uint8]) -> Grey:
    height, width = frame.shape[:2]
    bottom, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return cv2.copyMakeBorder(grey, 0, bottom, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _twice(grey: Grey) -> Grey:
    height, width = grey.shape
    return cv2.resize(grey, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _dis(fine0: Grey, fine1: Grey) -> Flow:
    """DIS between frames enlarged twice, ``2H,2W``; the flow is ``H,W,2`` in pixels of the frames themselves."""
    height, width = fine0.shape
    flow = _estimator().calc(fine0, fine1, None)  # type: ignore[call-overload]
    return cv2.resize(flow, (width // 2, height // 2), interpolation=cv2.INTER_AREA) / 2


def _shifted(grey: Grey, shift: tuple[int, int]) -> Grey:
    """``grey`` as seen ``shift`` further to the right and down, edges held."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, matrix, grey.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def release() -> None:
    """Give back the memory that this thread's estimator keeps between calls, about 200 bytes for each pixel."""
    _estimators.__dict__.pop("estimator", None)  # its own collectGarbage() leaves it unusable
