"""What the tests of video share."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.video.making import make_video

# No test here is about speed, and the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second at 24 frames per second with B-frames and sound."""
    return make_video(tmp_path / "clip.mp4", audio=0.5)
