"""The classical flow that networks start from."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.network.dis_flow import (
    FlowPair,
    classical_flow,
    flow_both_ways,
    motion_between,
    reconciled,
    shared_shifts,
)


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with detail at every size, ``height,width,3``."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for factor in (2, 4, 8, 16, 32):
        noise = rng.random((height // factor + 2, width // factor + 2, 3), np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total / 5 * 255, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("width", [96, 128, 160, 224, 320, 640])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4])
def test_pans_up_to_two_fifths_of_the_width_are_found(width: int, share: float) -> None:
    height, pan = width * 9 // 16, round(share * width)
    picture = textured(height, width + pan)
    first, second = picture[:, :width], picture[:, pan:]
    for frames, motion in (((first, second), -pan), ((second, first), pan)):
        flow = classical_flow(*frames)
        error = np.hypot(flow[..., 0] - motion, flow[..., 1])
        # What has left the picture cannot be found.
        seen = error[:, pan:] if motion < 0 else error[:, : width - pan]
        assert np.median(seen) < 0.25
        assert np.mean(seen < 1) > 0.85


@pytest.mark.parametrize("width", [96, 160, 320])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_in_a_pan_what_enters_and_leaves_has_the_motion_of_the_rest(width: int, share: float) -> None:
    height, pan = width * 9 // 16, round(share * width)
    picture = textured(height, width + pan)
    forward, backward = flow_both_ways(picture[:, :width], picture[:, pan:])
    for flow, motion in ((forward, -pan), (backward, pan)):
        # All of the frame now, also what the other one does not show.
        assert np.mean(np.hypot(flow[..., 0] - motion, flow[..., 1]) < 1) > 0.9


@pytest.mark.parametrize("pan", [4, 9, 20])
def test_a_subtitle_stands_still_before_a_pan(pan: int) -> None:
    picture = np.clip(textured(90, 160 + pan).astype(int) * 2 - 128, 0, 255).astype(np.uint8)
    frames = [picture[:, :160].copy(), picture[:, pan:].copy()]
    letters = np.zeros((90, 160), np.uint8)
    cv2.putText(letters, "what he said", (20, 80), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    for frame in frames:
        frame[letters > 0] = 255
    flow = classical_flow(*frames)
    assert np.mean(np.hypot(flow[..., 0], flow[..., 1])[letters > 0] < 0.5) > 0.6
    # All else moves.
    assert np.mean(np.abs(flow[:60, pan:, 0] + pan) < 1) > 0.8


def test_sure_flow_is_left_alone_and_unsure_flow_is_the_opposite_of_the_other() -> None:
    forward, backward = np.full((40, 60, 2), (3, -1), np.float32), np.full((40, 60, 2), (-3, 1), np.float32)
    forward[10:20, 20:30] = (11, 5)  # leads to where the other flow does not come from
    backward[:, :2] = (-30, 0)  # leaves the frame
    there, back = reconciled(forward, backward)
    # Further right the other flow leads into the wrong part, so it is not sure either.
    assert np.array_equal(there[10:20, 20:23], np.full((10, 3, 2), (3, -1), np.float32))
    assert np.array_equal(back[1:, :2], np.full((39, 2, 2), (-3, 1), np.float32))
    # Where neither is sure, both stay: the top right leaves the frame one way, and nothing comes from there.
    wrong = forward.copy()
    wrong[:] = (100, 100)
    assert all(np.array_equal(*pair) for pair in zip(reconciled(wrong, wrong), (wrong, wrong), strict=True))
    assert np.array_equal(there[25:35, 10:50], forward[25:35, 10:50])


def test_what_moves_on_its_own_keeps_its_motion_in_a_pan() -> None:
    picture, patch = textured(120, 260), textured(40, 40, seed=1)
    first, second = picture[:, :200].copy(), picture[:, 60:].copy()
    first[40:80, 80:120] = patch
    second[40:80, 82:122] = patch
    flow = classical_flow(first, second)
    assert abs(np.median(flow[48:72, 88:112, 0]) - 2) < 0.5
    assert abs(np.median(flow[:30, 80:, 0]) + 60) < 0.5


def test_frames_without_content_do_not_move() -> None:
    flat = np.full((20, 9, 3), 77, np.uint8)
    assert not classical_flow(flat, flat).any()
    assert shared_shifts(flat[..., 0], flat[..., 0]) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 7), (70, 45)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = textured(*size)
    flow = classical_flow(frame, np.roll(frame, 3, axis=1))
    assert flow.shape == (*size, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


def test_threads_do_not_disturb_each_other() -> None:
    sizes = [(96, 160), (64, 64), (120, 72), (48, 200)]
    pairs = [(textured(*size, seed), np.roll(textured(*size, seed), 2, axis=1)) for seed, size in enumerate(sizes)]
    expected = [classical_flow(*pair) for pair in pairs]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda k: classical_flow(*pairs[k % 4]), range(64)))
    assert all(np.array_equal(flow, expected[k % 4]) for k, flow in enumerate(found))


def between(early: float, late: float) -> FlowPair:
    """Flow both ways between two frames of what is at ``early`` and ``late`` pixels."""
    flow = np.full((32, 96, 2), (late - early, 0), np.float32)
    return flow, -flow


@given(
    speed=st.floats(-3, 3),
    change=st.floats(-1, 1),
    gaps=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    known=st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_acceleration_is_found_however_far_the_frames_are_apart(
    speed: float, change: float, gaps: tuple[float, float], known: tuple[bool, bool]
) -> None:
    first, last = -gaps[0], 1 + gaps[1]
    places = [speed * time + change * time**2 / 2 for time in (first, 0, 1, last)]
    before, pair, after = itertools.starmap(between, itertools.pairwise(places))
    way = places[2] - places[1]
    made = motion_between(before if known[0] else None, pair, after if known[1] else None, gaps)
    for flow, expected in zip(made, (way, -way, change if all(known) else change / 2), strict=True):
        middle = flow[14:18, 46:50]  # nothing has left the frame there
        np.testing.assert_allclose(middle[..., 0], expected, atol=1e-4)
        assert not middle[..., 1].any()


def test_what_cannot_be_told_has_no_acceleration() -> None:
    pair = between(0, 1)
    # Nothing around; what comes from outside; what another frame does not lead back to.
    wrong = pair[0], pair[0]
    for before, after in ((None, None), (between(-120, 0), None), (wrong, wrong)):
        forward, backward, change = motion_between(before, pair, after)
        assert np.array_equal(forward, pair[0])
        assert np.array_equal(backward, pair[1])
        assert not change.any()


def test_what_is_hidden_goes_on_as_it_came() -> None:
    forward, backward = between(0, 1)
    forward, backward = forward.copy(), backward.copy()
    forward[10:20, 40:50] = (9, 9)  # the second frame hides this part
    backward[10:20, 60:70] = (9, 9)  # and this one the first
    there, back, _ = motion_between(between(-4, 0), (forward, backward), between(1, 7), (2, 2))
    assert np.array_equal(there[10:20, 40:50], np.full((10, 10, 2), (2, 0), np.float32))
    assert np.array_equal(back[10:20, 60:70], np.full((10, 10, 2), (-3, 0), np.float32))
    # So does what leaves the frame; all else stays.
    assert np.array_equal(there[:, -1], np.full((32, 2), (2, 0), np.float32))
    assert np.array_equal(there[:, 8:36], forward[:, 8:36])
