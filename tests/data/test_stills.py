"""Synthetic motion: its frames and its exact flow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.data_fixtures import texture

from safa.data.synthetic import CameraPath, Motion, Still, transform

STILLS = tuple(Still.from_image(str(k), cv2.GaussianBlur(texture(k, 480, 400), (0, 0), 5)) for k in range(2))


def path(**change: float) -> CameraPath:
    names = ("x", "y", "angle", "zoom", "slant_x", "slant_y")
    return CameraPath(np.zeros(6), np.array([change.get(name, 0.0) for name in names]), np.zeros(6))


def top_layer(motion: Motion, time: float) -> np.ndarray:
    """``side,side`` number of the layer that is seen, NaN near outlines, where two mix."""
    seen = np.zeros((motion.side, motion.side), np.float32)
    for number, layer in enumerate(motion.layers[1:], start=1):
        alpha = layer.alpha(time)[:, :, 0]
        seen = np.where(alpha > 0.99, number, np.where(alpha < 0.01, seen, np.nan))
    return seen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_warping_frame_0_by_the_flow_gives_frame_t(seed: int, t: float) -> None:
    side = 128
    motion = Motion(STILLS, side, np.random.default_rng(seed))
    first, target = (motion.frame(time).astype(np.float32) for time in (0.0, t))
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    source = np.stack((x, y), axis=-1) + motion.flow(t, 0.0, grid=1)

    def fetch(image: np.ndarray, places: np.ndarray) -> np.ndarray:
        return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)  # type: ignore[call-overload]

    # Where the same layer is seen at both times, neither hidden nor outside of frame 0.
    visible = fetch(top_layer(motion, 0.0), source) == top_layer(motion, t)
    exact, displaced = (
        np.abs(fetch(first, places.astype(np.float32)) - target).mean(axis=-1)[visible]
        for places in (source, source + 0.5)
    )
    assert visible.mean() > 0.2
    assert np.quantile(exact, 0.95) < 1.5  # of 255: what rounding to 8 bits and bilinear interpolation leave
    assert np.nanmedian(displaced) > 2 * np.median(exact)


def test_low_resolution_flow_is_the_full_one_in_its_own_pixels() -> None:
    motion = Motion(STILLS, 64, np.random.default_rng(3))
    coarse, fine = motion.flow(0.5, 1.0), motion.flow(0.5, 1.0, grid=1)
    averaged = fine.reshape(16, 4, 16, 4, 2).mean(axis=(1, 3)) / 4
    assert np.median(np.abs(coarse - averaged)) < 1e-3


def test_a_pan_is_the_shifted_photograph() -> None:
    # A pan by 8 pixels: the frame at t = 0.5 is the frame at 0 shifted by 4.
    moving = path(x=8.0)
    frames = [
        cv2.warpPerspective(
            STILLS[0].levels[0],
            moving.matrix(t, (64.0, 64.0), (150.0, 110.0), 128),
            (128, 128),
            flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        )
        for t in (0.0, 0.5)
    ]
    assert np.array_equal(frames[1][:, 4:], frames[0][:, :-4])


def test_perspective_brings_one_side_nearer() -> None:
    matrix = path(slant_x=0.2).matrix(1.0, (50.0, 50.0), (0.0, 0.0), 100)
    heights = []
    for x in (0.0, 100.0):
        top, bottom = transform(matrix, np.array([[x, 0.0], [x, 100.0]]))
        heights.append(bottom[1] - top[1])
    assert heights[0] > 1.1 * heights[1]


def test_motion_blur_smears_what_moves_and_keeps_what_stands() -> None:
    rng = np.random.default_rng(2)
    motion = Motion(STILLS[:1], 64, rng, blur=1.0)
    assert motion.shutter > 0
    motion.layers = motion.layers[:1]
    for change, sharper in ((40.0, True), (0.0, False)):
        motion.layers[0].path = path(x=change)
        blurred = motion.frame(0.5).astype(float)
        shutter, motion.shutter = motion.shutter, 0.0
        sharp = motion.frame(0.5).astype(float)
        motion.shutter = shutter
        assert (np.abs(np.diff(blurred, axis=1)).mean() < 0.95 * np.abs(np.diff(sharp, axis=1)).mean()) == sharper
