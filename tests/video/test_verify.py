import json
from dataclasses import replace
from fractions import Fraction

import pytest

from safa.video.verify import verify
from tests.video.making import convert, make_video


@pytest.fixture
def job(tmp_path, clip):
    output = tmp_path / "out.mp4"
    return output, convert(clip, output)


def test_good_file_passes_with_figures(job):
    output, expected = job
    verification = verify(output, expected)
    assert verification.ok
    figures = json.loads(json.dumps(verification.to_dict()))
    assert figures["checks"]["frames"] == {"expected": 23, "found": 23, "ok": True}
    assert figures["checks"]["audio 0 offset"]["ok"]
    assert verification.failures() == []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"frames": 24}, "frames"),
        ({"end": Fraction(52, 100)}, "end"),
        ({"start": Fraction(2, 1000)}, "start"),
        ({"width": 128}, "size"),
        ({"streams": ()}, "audio streams"),
    ],
)
def test_each_mismatch_is_a_failed_check(job, change, check):
    output, expected = job
    verification = verify(output, replace(expected, **change))
    assert not verification.ok
    assert any(line.startswith(check) for line in verification.failures())


def test_changed_sound_is_seen(job):
    output, expected = job
    (audio,) = expected.streams
    for change in ({"first": audio.first + Fraction(2, 1000)}, {"packets": 3}, {"digest": "0"}):
        assert not verify(output, replace(expected, streams=(replace(audio, **change),))).ok


def test_end_within_half_a_frame_is_accepted(job):
    output, expected = job
    assert verify(output, replace(expected, end=expected.end + Fraction(1, 100))).ok


@pytest.mark.parametrize("content", [b"", b"not a video", None])
def test_unreadable_output_is_a_failed_check_not_an_error(tmp_path, job, content):
    _, expected = job
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    verification = verify(path, expected)
    assert not verification.ok
    assert "readable" in verification.to_dict()["checks"]


def test_truncated_output_fails(tmp_path, job):
    output, expected = job
    data = output.read_bytes()
    (tmp_path / "short.mp4").write_bytes(data[: len(data) // 2])
    assert not verify(tmp_path / "short.mp4", expected).ok


def test_other_video_fails(tmp_path, job):
    _, expected = job
    assert not verify(make_video(tmp_path / "other.mp4"), expected).ok
