"""Files that were cut off are told from whole ones."""

from pathlib import Path

import pytest

from safa.video.file_source import VideoReader
from tests.media import write_clip


def problems(path: Path) -> list[str]:
    with VideoReader(path) as reader:
        for _ in reader.frames():
            pass
    return reader.problems


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, suffix: str) -> None:
    whole = write_clip(tmp_path / f"whole{suffix}", frames=40, sound=False)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert not any("cut off" in problem for problem in problems(whole))
    assert any("cut off" in problem for problem in problems(cut))
