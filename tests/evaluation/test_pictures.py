"""Flow colours, masks and charts."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from safa.evaluation.pictures import (
    SCALE_COLOURS,
    data_uri,
    error_picture,
    flow_length,
    flow_picture,
    mask_picture,
    scale_picture,
    sheet,
    wheel_picture,
)
from tests.evaluation.footage import moving


@pytest.mark.parametrize(
    ("vector", "colour"),
    [  # the Middlebury wheel: red to the right, yellow down, cyan to the left, violet up; paler the shorter
        ((1, 0), (255, 0, 0)),
        ((0, 1), (255, 229, 0)),
        ((-1, 0), (0, 209, 255)),
        ((0, -1), (88, 0, 255)),
        ((0.5, 0), (255, 127, 127)),
        ((0, 0), (255, 255, 255)),
        ((2, 0), (191, 0, 0)),  # longer than the longest: darkened
    ],
)
def test_flow_has_the_colours_of_the_field(vector: tuple[float, float], colour: tuple[int, int, int]) -> None:
    picture = flow_picture(4 * np.array([[vector]], np.float32), longest=4)
    assert picture[0, 0].tolist() == pytest.approx(colour, abs=1)


def test_the_legend_is_round_and_agrees_with_the_flow() -> None:
    wheel = wheel_picture(101)
    assert wheel[0, 0].tolist() == [255, 255, 255]
    assert wheel[50, 100].tolist() == flow_picture(np.array([[[1.0, 0.0]]]), 1)[0, 0].tolist()


def test_a_stray_vector_does_not_set_the_length() -> None:
    flow = np.full((50, 50, 2), [3.0, 4.0])
    flow[0, 0] = 1000
    assert flow_length([flow]) == pytest.approx(5)


def test_a_mask_is_white_where_frame_0_shows() -> None:
    assert mask_picture(np.array([[0, 0.5, 1]]))[0, :, 0].tolist() == [0, 128, 255]


def test_errors_are_shown_amplified() -> None:
    truth = np.full((1, 2, 3), 100, np.uint8)
    image = truth.copy()
    image[0, 1] = (90, 110, 110)
    assert error_picture(image, truth, gain=4)[0, :, 0].tolist() == [0, 40]


def test_the_chart_has_a_row_for_each_block_and_a_column_for_each_time() -> None:
    chart = scale_picture([[0, 2], [1, 2], [1, 0]], [0, 0.5, 1], (1, 0.5, 0.25))
    cells = chart[26::24, 76::64]
    assert cells.tolist() == [[list(SCALE_COLOURS[index]) for index in row] for row in ((0, 1, 1), (2, 2, 0))]


def test_a_sheet_holds_every_picture() -> None:
    first, second = moving(2)
    page = sheet([("a", [first, second]), ("b", [second])], ["t = 0", "t = 1"])
    assert _contains(page, first) == 1
    assert _contains(page, second) == 2


@pytest.mark.parametrize(("lossless", "kind", "tolerance"), [(True, "png", 0), (False, "webp", 20)])
def test_embedded_pictures_can_be_read_back(lossless: bool, kind: str, tolerance: int) -> None:
    picture = moving(1)[0]
    head, body = data_uri(picture, lossless).split(",")
    assert head == f"data:image/{kind};base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(body), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.abs(decoded[..., ::-1].astype(int) - picture).max() <= tolerance


def _contains(page: np.ndarray, picture: np.ndarray) -> int:
    """How often ``picture`` lies on ``page``."""
    height, width = picture.shape[:2]
    corners = np.argwhere((page == picture[0, 0]).all(axis=2))
    return sum(np.array_equal(page[y : y + height, x : x + width], picture) for y, x in corners)
