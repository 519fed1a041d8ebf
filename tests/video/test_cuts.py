from fractions import Fraction

import cv2
import numpy as np
import pytest

from safa.video.cuts import LOOK, Change, with_changes
from safa.video.info import Frame
from safa.video.schedule import DuplicateDetector, Timeline, plan_windows

SIZE = (128, 72)


def scene(seed: int, count: int, speed: float = 3.0, first: int = 0) -> list[np.ndarray]:
    """Frames of a camera that moves `speed` pixels a frame over a landscape with colours of its own."""
    rng = np.random.default_rng(seed)
    base = rng.integers(40, 216, 3)
    land = np.zeros((SIZE[1] * 2, SIZE[0] * 8, 3), np.float32)
    for cell in (4, 16, 64):
        shape = (land.shape[0] // cell, land.shape[1] // cell, 3)
        coarse = rng.normal(0, 14 + cell / 3, shape).astype(np.float32)
        land += cv2.resize(coarse, (land.shape[1], land.shape[0]), interpolation=cv2.INTER_CUBIC)
    land = np.clip(land + base, 0, 255).astype(np.uint8)
    starts = [round((first + k) * speed) for k in range(count)]
    return [land[20 : 20 + SIZE[1], x : x + SIZE[0]] for x in starts]


def found(frames, change=Change.CUT):
    changes = list(with_changes(frames, lambda image: image))
    assert len(changes) == len(frames)
    assert all(image is frame for (image, _), frame in zip(changes, frames, strict=True))
    return [number for number, (_, kind) in enumerate(changes) if kind is change]


def scaled(frame, gain, offset=0.0):
    return np.clip(frame * gain + offset, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize("speed", [0.0, 3.0, 8.0])
def test_cuts_are_found_and_nothing_else(speed, gain):
    lengths = [12, 5, 30, 8, 3, 20]
    frames = [scaled(f, gain) for seed, length in enumerate(lengths) for f in scene(seed, length, speed)]
    assert found(frames) == list(np.cumsum(lengths[:-1]))


@pytest.mark.parametrize("length", [1, 2, LOOK])
@pytest.mark.parametrize("light", [(1.0, 170), (0.0, 250), (0.0, 2)])
def test_flash_is_no_cut(length, light):
    frames = scene(1, 30)
    for number in range(14, 14 + length):
        frames[number] = scaled(frames[number], *light)
    assert found(frames) == []
    assert set(found(frames, Change.FLASH)) <= {14, 14 + length}


def test_bleached_frames_are_marked_on_both_sides():
    frames = scene(1, 30)
    frames[14] = scaled(frames[14], 0, 250)
    assert found(frames, Change.FLASH) == [14, 15]


def test_inserted_frame_of_another_scene_is_two_cuts():
    frames = scene(1, 30)
    other = scene(2, 1)[0]
    shift = float(frames[13].mean()) - float(other.mean())
    frames[14:16] = [scaled(other, 1, shift)] * 2  # equally bright: it is no flash
    assert found(frames) == [14, 16]


@pytest.mark.parametrize("steps", [4, 8, 16])
def test_fade_through_black_is_no_cut(steps):
    first, second = scene(1, 20 + steps), scene(2, 20 + steps)
    falling = [scaled(first[20 + k], 1 - (k + 1) / steps) for k in range(steps)]
    rising = [scaled(second[k], (k + 1) / steps) for k in range(steps)]
    assert found([*first[:20], *falling, *rising, *second[steps:]]) == []


@pytest.mark.parametrize("steps", [4, 10])
def test_dissolve_is_no_cut(steps):
    first, second = scene(1, 20 + steps), scene(2, 20 + steps)
    shares = [(k + 1) / (steps + 1) for k in range(steps)]
    mixed = [scaled(first[20 + k] * (1 - s) + second[k] * s, 1) for k, s in enumerate(shares)]
    assert found([*first[:20], *mixed, *second[steps:]]) == []


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_fast_pan_is_no_cut(share):
    speed = SIZE[0] * share
    assert found(scene(3, int(SIZE[0] * 7 / speed), speed)) == []


def test_exposure_jump_is_no_cut():
    frames = scene(1, 30)
    assert found(frames[:15] + [scaled(frame, 1.5) for frame in frames[15:]]) == []


def test_deep_and_transparent_frames_are_judged_alike():
    frames = scene(0, 8) + scene(1, 8)
    deep = [np.dstack([frame.astype(np.uint16) * 257, np.full(frame.shape[:2], 65535, np.uint16)]) for frame in frames]
    assert found(deep) == found(frames) == [8]


@pytest.mark.parametrize("count", [0, 1, 2, LOOK, LOOK + 1])
def test_short_films_come_out_whole(count):
    assert found(scene(0, count)) == []


def test_constant_memory_and_bounded_delay():
    """A frame is given back once LOOK more have been taken, not at the end."""
    taken = []

    def source():
        for number, frame in enumerate(scene(0, 20)):
            taken.append(number)
            yield frame

    changes = with_changes(source(), lambda image: image)
    next(changes)
    assert len(taken) == LOOK + 1


def duplicates(frames):
    detector = DuplicateDetector()
    return [detector.is_duplicate(frame) for frame in frames]


def test_animation_on_twos():
    frames = [frame for frame in scene(1, 12) for _ in range(2)]
    assert duplicates(frames) == [False, True] * 12


def test_telecine_repeats_with_noise():
    rng = np.random.default_rng(0)
    frames = [frame for number, frame in enumerate(scene(1, 20)) for _ in range(2 if number % 4 == 3 else 1)]
    noisy = [scaled(frame, 1, rng.normal(0, 1.5, frame.shape)) for frame in frames]
    assert duplicates(noisy)[10:] == [number % 5 == 4 for number in range(10, 25)]


def test_small_motion_in_a_still_picture_is_motion():
    frames = [scene(1, 1)[0].copy() for _ in range(6)]
    for number, frame in enumerate(frames):
        frame[30:36, 40 + number * 2 : 46 + number * 2] = 255
    assert not any(duplicates(frames))


def test_slow_motion_adds_up():
    """A third of a pixel a frame: some frames may repeat, but never the whole shot."""
    big = cv2.resize(scene(1, 1)[0], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    frames = [cv2.resize(big[:, k : k + 8 * 100], (100, 72), interpolation=cv2.INTER_AREA) for k in range(0, 60, 3)]
    assert duplicates(frames).count(False) >= 8


def test_still_shot_is_not_one_endless_duplicate():
    frame = scene(1, 1)[0]
    assert duplicates([frame] * 11) == [False, *[True] * 4] * 2 + [False]


def test_duplicates_at_sixteen_bits():
    frames = [frame.astype(np.uint16) * 257 for frame in scene(1, 5) for _ in range(2)]
    assert duplicates(frames) == [False, True] * 5


def frames_of(images, rate=24):
    return [Frame(Fraction(k, rate), Fraction(1, rate), image) for k, image in enumerate(images)]


def shown(images, dedup, rate=1):
    """Source frames that each picture is made from: one, or two where it lies between them."""
    timeline = Timeline(rate, None, Fraction(1))
    for window in plan_windows(frames_of(images), timeline, True, dedup):
        for moment, (place, t) in window.pictures:
            first, second = window.frames[place], window.frames[min(place + 1, len(window.frames) - 1)]
            yield moment, ({first.number} if t == 0 else {second.number} if t == 1 else {first.number, second.number})


@pytest.mark.parametrize("held", [1, 2, 3, 4])
def test_a_cut_stays_where_it_is_whatever_is_held(held):
    images = [image for seed in (1, 2) for drawing in scene(seed, 4, speed=9) for image in held * [drawing]]
    cut = 4 * held
    for moment, numbers in shown(images, dedup=True):
        is_after = moment.time >= Fraction(cut, 24)
        assert all((number >= cut) is is_after for number in numbers), (moment, numbers)


def test_what_was_usual_before_a_cut_is_forgotten():
    bright = scene(1, 12, speed=12)
    dark = [np.clip(image.astype(float) * 0.12, 0, 255).astype(np.uint8) for image in scene(2, 24, speed=3)]
    alone = [number for number, is_repeat in enumerate(duplicates(dark)) if is_repeat]
    made = list(shown(bright + dark, dedup=True))
    assert alone == []
    assert {number for _, numbers in made for number in numbers} == set(range(36))


def test_nothing_is_made_across_a_cut_after_repeats():
    images = [*scene(1, 6), *2 * [scene(2, 1)[0]], *scene(3, 6)]
    scenes = [range(6), range(6, 8), range(8, 14)]
    for _, numbers in shown(images, dedup=True, rate=3):
        assert any(numbers <= set(one) for one in scenes)
