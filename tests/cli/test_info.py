"""`safa info` describes a video in words; `--json` has everything."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.cli.test_cli import Shell
from tests.media import write_clip
from tests.video.making import make_interlaced, make_rich, make_video


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def rows(text: str) -> dict[str, str]:
    """Return the tables as a dictionary, with the lines of a cell joined."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"  (\S+(?: \S+)*)(?:  +(.*))?$", line):
            name = match[1]
            found[name] = (match[2] or "").strip()
        elif line.startswith("   "):
            found[name] += " " + line.strip()
    return found


def test_the_table_of_a_video_has_no_python_in_it(shell: Shell, tmp_path: Path) -> None:
    code, out, _ = shell("info", write_clip(tmp_path / "clip.mp4", frames=6))
    assert code == 0
    assert not re.search(r"None|Fraction|[{}\[\]]|True|False", out.replace(str(tmp_path), ""))
    facts = rows(out)
    assert facts["container"] == "MP4 or QuickTime"
    assert facts["picture"] == "48x32"
    assert facts["frame rate"] == "10 frames per second, constant"
    assert facts["codec"] == "H.264, 8 bits, 4:2:0"
    assert facts["sound"] == "AAC, mono, 8 kHz"
    assert "not tagged; assumed" in facts["colour"]
    assert facts["interlaced"] == "no"
    assert {"repeated frames", "scene cuts", "block edges", "noise", "bits per pixel"} <= facts.keys()


def test_shape_and_depth_are_described(shell: Shell, tmp_path: Path) -> None:
    def shaped(stream: Any) -> None:
        stream.sample_aspect_ratio = Fraction(16, 11)
        for name, point in (("color_primaries", 9), ("color_trc", 16), ("colorspace", 9)):
            setattr(stream.codec_context, name, point)

    path = make_video(tmp_path / "a.mkv", codec="libx265", pixel_format="yuv422p10le", configure=shaped)
    facts = rows(shell("info", path)[1])
    assert facts["picture"] == "64x48, pixels 16:11 wide, shown as 93x48"
    assert facts["codec"] == "H.265, 10 bits, 4:2:2"
    assert facts["colour"].startswith("BT.2020 primaries, PQ transfer, BT.2020 matrix")
    assert facts["HDR"] == "PQ"


def test_interlacing_and_varying_rates_are_described(shell: Shell, tmp_path: Path) -> None:
    assert rows(shell("info", make_interlaced(tmp_path / "a.mpg"))[1])["interlaced"].startswith("yes")
    uneven = make_video(tmp_path / "b.mp4", [0, 1, 2, 4, 5, 6, 8, 9])
    assert "varying" in rows(shell("info", uneven)[1])["frame rate"]


def test_all_streams_are_described(shell: Shell, tmp_path: Path) -> None:
    facts = rows(shell("info", make_rich(tmp_path / "rich.mkv"))[1])
    assert facts["sound"] == "AAC, mono, 48 kHz, eng, eng sound OPUS, mono, 48 kHz, deu, deu sound"
    assert facts["subtitles"] == "SubRip, fra SubRip, spa"
    assert facts["other streams"] == "attachment"


def test_json_has_everything(shell: Shell, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=6)
    facts = json.loads(shell("info", path, "--json")[1])
    assert facts["time_base"] == "1/16000"
    assert facts["bytes"] == path.stat().st_size
    assert facts["look"]["frames"] == 6
    assert facts["weights"] in ("fast@0.3", "real@0.3")
    assert rows(shell("info", path)[1])["suitable weights"] == facts["weights"]
    assert facts["streams"][0]["sample_rate"] == 8000


def test_a_name_with_brackets_and_a_picture_without_colour(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "a [bold] film.mkv"
    make_video(path, codec="ffv1", pixel_format="gray")
    code, out, _ = shell("info", path)
    assert code == 0
    assert "a [bold] film.mkv" in out.replace("\n", "")
    with av.open(str(path)) as container:
        assert container.streams.video[0].pix_fmt == "gray"
    assert rows(out)["codec"] == "FFV1, 8 bits"
