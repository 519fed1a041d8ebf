"""Frames that repeat the one before: animation on twos, telecine, screen recordings."""

from collections import deque

import cv2
import numpy as np

BLOCK = 8  # pixels
# Difference of the most different block, of 255. Below SAME nothing moved. A repeat that was encoded again differs
# by more than that, but by far less than the frames that are no repeats: under SHARE of their usual difference.
SAME = 2.0
SHARE = 0.3
RECENT = 9  # differing frames that "usual" is taken over


class DuplicateDetector:
    """Decides for each frame whether it shows the same picture as the last one that was not a duplicate.

    Every block must agree, so a moving mouth in a still picture is motion; and comparing with the last *different*
    frame lets slow motion add up until it is seen. After `longest` duplicates in a row the next frame counts as
    different: the motion after a still shot must not be spread over all of it.
    """

    def __init__(self, longest: int = 4) -> None:
        self._longest = longest
        self._run = 0
        self._reference: np.ndarray | None = None
        self._differences: deque[float] = deque(maxlen=RECENT)

    def begin(self, image: np.ndarray) -> None:
        """Take the first frame of another scene: what was usual before says nothing about it."""
        self._reference, self._run = np.ascontiguousarray(image[..., :3]), 0
        self._differences.clear()

    def is_duplicate(self, image: np.ndarray) -> bool:
        """Take the next frame, H,W,3 or H,W,4 RGB, uint8 or uint16; the first one never is a duplicate."""
        picture = np.ascontiguousarray(image[..., :3])
        if self._reference is None:
            self._reference = picture
            return False
        difference = _largest_block(self._reference, picture)
        usual = float(np.median(self._differences)) if self._differences else 0.0
        if self._run < self._longest and difference < max(SAME, SHARE * usual):
            self._run += 1
            return True
        self._reference, self._run = picture, 0
        self._differences.append(difference)
        return False


def _largest_block(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of the most different block, of 255."""
    difference = cv2.absdiff(first, second).max(-1).astype(np.float32)
    height, width = difference.shape
    size = (max(1, round(width / BLOCK)), max(1, round(height / BLOCK)))
    blocks = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    return float(blocks.max()) / (257 if first.dtype == np.uint16 else 1)
