"""Jobs with results of various sizes: codecs, displayed shape, resumed jobs, clusters and batches."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from safa.checkpoint import Checkpoint
from safa.cluster.open_job import ClusterRequest
from safa.cluster.scheduler import Scheduler
from safa.errors import JournalMismatch, OutputError, SafaError
from safa.jobs.batch import BatchEvents, upscale_many
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.jobs.weights_selection import LoadedNetwork
from safa.options import UpscaleSettings
from safa.upscaler.upscaler import Upscaler, span_of
from safa.video.file_source import VideoReader
from safa.video.folder_source import open_reader
from safa.video.info import ReadOptions
from safa.video.pictures import load_picture, save_picture, side_by_side
from tests.cluster.local import LocalWorkers
from tests.conftest import tiny_network
from tests.media import HEIGHT, WIDTH, video_frames, write_clip
from tests.video.making import make_video


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 67 x 65, as H.265 and AV1 need at least 64 pixels a side."""
    return write_clip(tmp_path_factory.mktemp("odd") / "in.mkv", 2, size=(67, 65), sound=False)


def fastest(codec: str | None) -> str:
    return "ultrafast" if codec in ("h264", "h265", "av1", "vp9") else "medium"


CODECS = {
    "h264": (".mp4", (2, 2)),
    "h265": (".mp4", (2, 2)),
    "av1": (".mp4", (2, 2)),
    "vp9": (".webm", (2, 2)),
    "prores": (".mov", (2, 1)),
    "ffv1": (".mkv", (1, 1)),
    None: (".gif", (1, 1)),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scale", ["1", "1.5", "2.25"])
def test_every_codec_gets_sides_it_can_take(
    tmp_path: Path, upscaler: Upscaler, odd: Path, codec: str | None, scale: str
) -> None:
    suffix, multiples = CODECS[codec]
    settings = UpscaleSettings(rate=1, scale=scale, codec=codec, preset=fastest(codec))
    report = upscale(odd, tmp_path / f"out{suffix}", settings=settings, upscaler=upscaler)
    assert report.verification.ok
    for side, source, multiple in ((report.width, 67, multiples[0]), (report.height, 65, multiples[1])):
        assert side % multiple == 0
        assert abs(side - source * Fraction(scale)) <= multiple


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    scale=st.sampled_from(["1", "1.01", "1.25", "4/3", "1.5", "2", "2.25", "2.5", "3", "10/3", "3.99", "4"]),
    output=st.sampled_from([*CODECS.items(), (None, (".webp", (1, 1))), (None, (".png", (1, 1)))]),
)
@example(width=1, height=2, scale="1", output=("ffv1", CODECS["ffv1"]))
@example(width=1, height=3, scale="1", output=(None, (".png", (1, 1))))
def test_any_source_at_any_scale_in_any_codec(
    tmp_path: Path, upscaler: Upscaler, width: int, height: int, scale: str, output: Any
) -> None:
    codec, (suffix, multiples) = output
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    (place / "in").mkdir()
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        save_picture(values, place / "in" / f"{number}.png")
    settings = UpscaleSettings(
        rate=1, codec=codec, scale=scale, preset=fastest(codec), reading=ReadOptions(source_fps=Fraction(10))
    )
    target = place / ("out/%d.png" if suffix == ".png" else f"out{suffix}")
    exact = [
        max(-(-side // multiple), math.floor(side * Fraction(scale) / multiple + Fraction(1, 2))) * multiple
        for side, multiple in zip((width, height), multiples, strict=True)
    ]
    if codec in ("h265", "av1") and min(exact) < 64:
        with pytest.raises(
            OutputError, match=f"{codec} cannot be written at {exact[0]}x{exact[1]}: .* 64 pixels a side"
        ):
            upscale(place / "in", target, settings=settings, upscaler=upscaler)
        assert [path.name for path in place.iterdir()] == ["in"]
        return
    report = upscale(place / "in", target, settings=settings, upscaler=upscaler)
    assert report.verification.ok
    assert [report.width, report.height] == exact
    if suffix == ".webp":  # which not every FFmpeg reads
        with Image.open(target) as picture:
            assert list(picture.size) == exact
        return
    is_folder = suffix == ".png"
    options = ReadOptions(source_fps=Fraction(10)) if is_folder else ReadOptions()
    with open_reader(place / "out" if is_folder else target, options) as reader:
        assert {frame.image.shape[1::-1] for frame in reader.frames(alpha=False)} == {tuple(exact)}


def test_the_pictures_are_those_of_between(tmp_path: Path, upscaler: Upscaler) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    inputs = [np.random.default_rng(k).integers(0, 256, (18, 22, 4)).astype(np.uint16) * 257 for k in range(2)]
    for number, values in enumerate(inputs):
        save_picture(values, folder / f"{number}.png")
    settings = UpscaleSettings(scale=1.5, cuts=False, reading=ReadOptions(source_fps=Fraction(10)))
    upscale(folder, tmp_path / "out" / "%d.png", settings=settings, upscaler=upscaler)
    expected = upscaler.between(inputs[0], inputs[1], [0, 0.5, 1], size="33x27")
    for number, picture in enumerate(expected, 1):
        found = load_picture(tmp_path / "out" / f"{number}.png")
        assert found.dtype == np.uint16
        assert np.array_equal(found, picture)


@pytest.mark.parametrize(
    ("aspect", "asked", "size", "displayed"),
    [
        (Fraction(4, 3), {"scale": 2}, (128, 96), Fraction(16, 9)),
        (Fraction(4, 3), {"size": "170x96"}, (170, 96), Fraction(16, 9)),
        (Fraction(1), {"size": "128x64"}, (128, 64), Fraction(4, 3)),
        (Fraction(1), {"size": "100x-1"}, (100, 76), Fraction(100, 76)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_players_show_the_source_s_shape(
    tmp_path: Path,
    upscaler: Upscaler,
    aspect: Fraction,
    asked: dict[str, Any],
    size: tuple[int, int],
    displayed: Fraction,
    suffix: str,
) -> None:
    def configure(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    source = make_video(tmp_path / "in.mp4", range(2), configure=configure)
    report = upscale(source, tmp_path / f"out{suffix}", upscaler=upscaler, **asked)
    with VideoReader(report.output) as reader:
        info = reader.info
    assert (info.width, info.height) == size
    assert float(info.width * info.sample_aspect_ratio / info.height) == pytest.approx(float(displayed), rel=0.01)


def test_a_size_is_given_as_players_show_it(tmp_path: Path, upscaler: Upscaler) -> None:
    def turned(stream: Any) -> None:
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])

    source = make_video(tmp_path / "in.mp4", range(2), configure=turned)  # 64 x 48, seen as 48 x 64
    report = upscale(source, tmp_path / "out.mp4", size="96x128", upscaler=upscaler)
    assert (report.width, report.height) == (128, 96)
    assert side_by_side(source, tmp_path / "out.mp4").shape == (128, 2 * 96 + 8, 3)


class Stopped(Exception):
    """A simulated crash."""


def crash(progress: Progress) -> None:
    if progress.done == 10:
        raise Stopped


@pytest.mark.parametrize("size", [{"scale": 1}, {"scale": 1.5}, {"size": "96x-1"}], ids=str)
@pytest.mark.parametrize("propagation", [0, 1])
def test_a_stopped_job_equals_an_uninterrupted_one_and_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: dict[str, Any], propagation: int
) -> None:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=propagation)
    checkpoint = Checkpoint.of(network, "tiny")
    upscaler = Upscaler(checkpoint, device="cpu")
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 4)
    settings = UpscaleSettings(codec="ffv1", **size)
    source = write_clip(tmp_path / "in.mp4", frames=6)
    upscale(source, tmp_path / "whole.mkv", settings=settings, upscaler=upscaler)
    output = tmp_path / "out.mkv"
    with pytest.raises(Stopped):
        upscale(source, output, settings=settings, upscaler=upscaler, on_progress=crash)
    for other in ({"scale": 2.5}, {"scale": 4}, {}):
        changed = UpscaleSettings(codec="ffv1", **other)  # type: ignore[arg-type]
        with pytest.raises(JournalMismatch, match="--restart"):
            upscale(source, output, settings=changed, upscaler=upscaler)
    assert upscale(source, output, settings=settings, upscaler=upscaler).resumed_frames == 8
    request = ClusterRequest(settings, checkpoint.sha256, span=span_of(checkpoint.network.config))
    workers = LocalWorkers(checkpoint, last_first=True)
    (outcome,) = Scheduler(workers, request, BatchEvents()).run([(source, tmp_path / "parts.mkv")], {})
    assert not outcome.failed
    whole, *others = ([f for _, f in video_frames(tmp_path / f"{n}.mkv")] for n in ("whole", "out", "parts"))
    assert len(whole) == 11
    for frames in others:
        assert all(np.array_equal(a, b) for a, b in zip(whole, frames, strict=True))


def test_a_batch_does_not_accept_a_result_of_another_size(tmp_path: Path, upscaler: Upscaler) -> None:
    (tmp_path / "out").mkdir()
    jobs = [(write_clip(tmp_path / "in.mp4", 1, sound=False), tmp_path / "out" / "in.mp4")]
    (made,) = upscale_many(jobs, UpscaleSettings(scale=2), LoadedNetwork(upscaler))
    assert not made.failed
    (again,) = upscale_many(jobs, UpscaleSettings(scale="2.0"), LoadedNetwork(upscaler))
    assert (again.report, again.error) == (None, None)
    for other, named in (({"scale": 3}, "scale"), ({}, "scale"), ({"size": "96x64"}, "size and scale")):
        (outcome,) = upscale_many(jobs, UpscaleSettings(**other), LoadedNetwork(upscaler))  # type: ignore[arg-type]
        assert f"made with another {named};" in str(outcome.error)


def test_results_are_at_most_4k_by_default(tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.upscaler.resize.LARGEST", (120, 80))
    source, warnings = write_clip(tmp_path / "in.mp4", 1), list[str]()
    report = upscale(source, tmp_path / "a.mp4", upscaler=upscaler, on_warning=warnings.append)
    assert (report.width, report.height) == (120, 80)
    assert warnings == ["the result will be 120x80, as 192x128 would be more than 4K; give --scale 4 for that."]
    report = upscale(source, tmp_path / "b.mp4", scale=4, upscaler=upscaler, on_warning=warnings.append)
    assert (report.width, report.height) == (4 * WIDTH, 4 * HEIGHT)
    assert len(warnings) == 1


@pytest.mark.parametrize("size", ["4k", "40x30", "97x64", "-1x65"])
def test_impossible_sizes_leave_nothing_behind(tmp_path: Path, upscaler: Upscaler, size: str) -> None:
    source = write_clip(tmp_path / "in.mp4", 1)
    with pytest.raises(SafaError, match=r"more than 4 times|smaller than|even sides"):
        upscale(source, tmp_path / "out.mp4", size=size, upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_equal_sizes_are_stored_in_one_form() -> None:
    assert UpscaleSettings(scale=1.5) == UpscaleSettings(scale="3/2") == UpscaleSettings(scale=Fraction(3, 2))
    assert dataclasses.replace(UpscaleSettings(size=" 4K")).size == "4k"
    with pytest.raises(SafaError, match="choose one"):
        UpscaleSettings(scale=2, size="4k")


def test_smaller_results_need_less_memory(tmp_path: Path) -> None:
    from safa.jobs.plan import prepare_job
    from safa.video.folder_source import open_reader

    source = write_clip(tmp_path / "in.mp4", 1, size=(640, 360))
    plans = []
    for scale in (1, 2, 4):
        with open_reader(source) as reader:
            plans.append(
                prepare_job(reader, source, tmp_path / "out.mp4", UpscaleSettings(scale=scale), 2 << 30).memory
            )
    assert [plan.reserved for plan in plans] == sorted(plan.reserved for plan in plans)
    assert plans[0].reserved < plans[2].reserved / 4
