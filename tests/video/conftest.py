"""What the tests of video share."""

from pathlib import Path

import pytest

from tests.video.making import make_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second at 24 frames per second with B-frames and sound."""
    return make_video(tmp_path / "clip.mp4", audio=0.5)
