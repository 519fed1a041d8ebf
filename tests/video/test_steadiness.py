"""Outputs that have one frame rate and no times, from sources whose rate varies."""

import io
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from safa.checkpoint import Checkpoint
from safa.jobs.upscale import upscale
from safa.options import UpscaleSettings
from safa.upscaler.upscaler import Upscaler
from safa.video.colour import Colour
from safa.video.constant_rate import uneven_rate
from safa.video.encoder import OutputSpec
from safa.video.folder_source import open_reader
from safa.video.info import ReadOptions
from safa.video.schedule import OutputTime
from safa.video.y4m import Y4mWriter
from tests.conftest import tiny_network
from tests.video.making import make_interlaced, make_video, picture
from tests.video.test_matrix import PHONE, without_timestamps
from tests.video.test_pictures import make_folder

MS = Fraction(1, 1000)
SCREEN = (0, *range(48, 57))  # a screen recording: nothing moves at first


@pytest.fixture(scope="module")
def upscaler():
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


NTSC = [*range(40), *range(41, 90)]  # a frame is missing


def usual_rate(path, start=None, end=None, parts=2, fps=None):
    options = ReadOptions(fps, start, end)
    with open_reader(path, options) as reader:
        return uneven_rate(reader, parts)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain.mp4", {}),
        ("film.mp4", {"time_base": Fraction(1001, 24000)}),
        ("milliseconds.mkv", {"times": [round(k * 1000 / 30) for k in range(90)], "time_base": MS}),
        ("late.mp4", {"times": range(48, 60)}),
        ("tuner.ts", {"times": range(100, 120)}),
        ("pair.mp4", {"times": (0, 7)}),
        ("single.mp4", {"times": (0,)}),
    ],
)
def test_a_constant_rate_is_known_as_one(tmp_path, name, settings):
    assert usual_rate(make_video(tmp_path / name, **settings)) is None


def test_sources_without_times_count_as_constant(tmp_path):
    assert usual_rate(without_timestamps(tmp_path)) is None
    assert usual_rate(make_interlaced(tmp_path / "fields.mpg")) is None


@pytest.mark.parametrize(
    ("name", "settings", "usual"),
    [
        ("screen.mp4", {"times": SCREEN}, 24),
        ("screen.mkv", {"times": SCREEN}, 24),
        ("phone.mkv", {"times": PHONE, "time_base": MS}, 30),
        ("still end.mp4", {"last_duration": 50, "options": {"bf": "0"}}, 24),
        ("slides.mp4", {"times": (0, 48, 96, 480)}, 1),
        ("hole.mp4", {"times": NTSC, "time_base": Fraction(1001, 30000)}, Fraction(30000, 1001)),
        ("hole.mkv", {"times": [round(k * 1001 / 30) for k in NTSC], "time_base": MS}, Fraction(30000, 1001)),
    ],
)
def test_a_varying_rate_is_found_before_work(tmp_path, name, settings, usual):
    assert usual_rate(make_video(tmp_path / name, **settings)) == usual


def test_only_the_chosen_part_counts(tmp_path):
    source = make_video(tmp_path / "screen.mkv", SCREEN)
    assert usual_rate(source, start=Fraction(2)) is None
    assert usual_rate(source, start=Fraction(0), end=Fraction(9, 4)) == 24


def test_numbers_that_are_missing_in_a_folder(tmp_path):
    assert usual_rate(make_folder(tmp_path / "whole", range(5, 9)), fps=Fraction(25)) is None
    assert usual_rate(make_folder(tmp_path / "gap", [1, 2, 3, 7, 8, 9]), fps=Fraction(25)) == 25


def piped(monkeypatch, source, **options):
    """The report and (frame rate, frames) of the YUV4MPEG2 on standard output."""
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stream))
    report = upscale(source, "-", **options)
    with av.open(io.BytesIO(stream.getvalue()), format="yuv4mpegpipe") as container:
        return report, container.streams.video[0].average_rate, len(list(container.decode(video=0)))


def test_y4m_of_a_varying_rate_lasts_as_long_as_the_source(tmp_path, monkeypatch, upscaler):
    source = make_video(tmp_path / "screen.mp4", SCREEN, size=(32, 16))  # 57/24 s
    said = []
    report, rate, frames = piped(monkeypatch, source, upscaler=upscaler, on_warning=said.append)
    assert (rate, frames) == (48, 2 * 57)
    assert report.frames == frames
    assert [text for text in said if "48 a second" in text and "--fps" in text]


def test_y4m_at_a_rate_that_was_asked_for_needs_no_words(tmp_path, monkeypatch, upscaler):
    source = make_video(tmp_path / "screen.mp4", SCREEN, size=(32, 16))
    report, rate, frames = piped(monkeypatch, source, settings=UpscaleSettings(fps=Fraction(8)), upscaler=upscaler)
    assert (rate, frames, report.warnings) == (8, 19, [])


def test_y4m_of_a_constant_rate_is_as_it_was(tmp_path, monkeypatch, upscaler):
    source = make_video(tmp_path / "plain.mp4", range(4), size=(32, 16))
    report, rate, frames = piped(monkeypatch, source, upscaler=upscaler)
    assert (rate, frames, report.warnings) == (48, 7, [])


def test_numbered_pictures_of_a_varying_rate_last_as_long_as_the_source(tmp_path, upscaler):
    source = make_video(tmp_path / "screen.mp4", SCREEN, size=(32, 16))
    report = upscale(source, tmp_path / "out" / "%d.png", rate=1, upscaler=upscaler)
    assert report.verification.ok
    assert report.frames == len(list((tmp_path / "out").iterdir())) == 57
    assert [text for text in report.warnings if "24 a second" in text]


@pytest.mark.parametrize(
    ("ticks", "shown"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([7, 8, 9], [0, 1, 2]),
        ([0, 1, 5, 6], [0, 1, 1, 1, 1, 2, 3]),  # a gap is waited for
        ([0, Fraction(1, 4), 1, 2], [0, 2, 3]),  # too many frames are thinned
        ([0, Fraction(9, 10), Fraction(21, 10), 3], [0, 1, 2, 3]),
    ],
)
def test_no_frame_of_y4m_is_far_from_its_time(ticks, shown):
    stream, rate = io.BytesIO(), Fraction(24)
    spec = OutputSpec(Path("-"), 64, 48, 1 / rate, rate, Colour().resolved(48), "y4m", "yuv444p")
    with Y4mWriter(stream, spec) as writer:
        for number, tick in enumerate(ticks):
            writer.write(picture(number * 4), OutputTime(number, number, Fraction(0), tick / rate))
        writer.finish(ticks[-1] / rate + 1)
    with av.open(io.BytesIO(stream.getvalue()), format="yuv4mpegpipe") as container:
        found = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    nearest = [min(range(len(ticks)), key=lambda k: abs(picture(k * 4) - image).mean()) for image in found]
    assert nearest == shown
