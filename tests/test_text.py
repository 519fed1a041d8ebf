"""Letters that the true weights show right stay what they are with the sharp ones."""

from __future__ import annotations

import string

import cv2
import numpy as np
import pytest

from safa.checkpoint import shipped_names
from safa.data.codec import through_codec
from safa.data.scene import Image, reduce_quarter
from safa.upscaler.upscaler import load

SIDE, LETTERS = 56, string.ascii_uppercase + string.digits
COLUMNS = 9


def page(shift: int) -> Image:
    """All letters on a slope of grey, moved to the right by ``shift`` pixels."""
    rows = -(-len(LETTERS) // COLUMNS)
    picture = np.tile(np.linspace(150, 230, COLUMNS * SIDE + 32), (rows * SIDE, 1)).astype(np.uint8)
    for number, letter in enumerate(LETTERS):
        place = (number % COLUMNS * SIDE + 8 + shift, number // COLUMNS * SIDE + 44)
        cv2.putText(picture, letter, place, cv2.FONT_HERSHEY_DUPLEX, 1.4, 30.0, 3, cv2.LINE_AA)
    return np.repeat(picture[..., None], 3, 2)


def read(picture: Image, truth: Image, shift: int) -> list[str]:
    """The letter that each place looks most like, of all that stand in the truth."""

    def cell(image: Image, number: int) -> np.ndarray:
        left, top = number % COLUMNS * SIDE + shift, number // COLUMNS * SIDE
        part = image[top : top + SIDE, left : left + SIDE, 1].astype(np.float64)
        part = part - part.mean()
        return np.asarray(part / np.linalg.norm(part))

    templates = [cell(truth, number) for number in range(len(LETTERS))]
    seen = [cell(picture, number) for number in range(len(LETTERS))]
    return [LETTERS[int(np.argmax([float((one * t).sum()) for t in templates]))] for one in seen]


@pytest.mark.skipif("vivid" not in shipped_names(), reason="no sharper weights are shipped")
@pytest.mark.parametrize("crf", [None, 28])
def test_sharp_weights_change_no_letter(crf: int | None) -> None:
    truths = [page(shift) for shift in (0, 4, 8)]
    inputs = [reduce_quarter(truth) for truth in truths[::2]]
    if crf is not None:
        inputs = through_codec(inputs, "h264", {"crf": str(crf)})
    true, sharp = (list(load(name, "cpu").stream(inputs, 2)) for name in ("real", "vivid"))
    right = 0
    for number, truth in enumerate(truths):
        shift = 4 * number
        as_real, as_vivid = (read(made[number], truth, shift) for made in (true, sharp))
        for letter, ours, theirs in zip(LETTERS, as_real, as_vivid, strict=True):
            if ours == letter:
                right += 1
                assert theirs == letter, (letter, number)
    assert right > len(truths) * len(LETTERS) * 0.9
