"""Previews: the choice of the excerpt, the files that are written, and the estimates."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from safa.checkpoint import save_checkpoint
from safa.errors import OutOfMemory, SafaError
from safa.jobs import preview as module
from safa.jobs.estimate import EncodedSample, byte_ratio_in_frame, byte_ratio_in_time
from safa.jobs.plan import prepare_job
from safa.jobs.preview import PreviewedNetwork, PreviewOptions, preview
from safa.options import ComputeOptions, UpscaleSettings
from safa.upscaler.tiling import Tile
from safa.upscaler.upscaler import Upscaler
from safa.video.excerpt import liveliest_part, part_at
from safa.video.folder_source import open_reader
from tests.conftest import streaming_network, tiny_network
from tests.media import HEIGHT, WIDTH, write_clip
from tests.video.making import make_video
from tests.video.test_look import moving, write

CPU = UpscaleSettings(compute=ComputeOptions("cpu"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tiny networks: one for pairs, one with propagation."""
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(tiny_network(grid="input", flow_prior="dis", blocks=1), folder / "pair.safetensors")
    save_checkpoint(streaming_network(), folder / "stream.safetensors")
    return [str(folder / "pair.safetensors"), str(folder / "stream.safetensors")]


def test_the_liveliest_part_is_found_and_has_no_cut(tmp_path: Path) -> None:
    """Still, then moving, then much faster with a cut in the middle of that."""
    still, slow = [moving(0)] * 75, [moving(k % 60) for k in range(75)]
    fast = [moving(3 * k) for k in range(20)]
    wild = [*fast, *(255 - picture // 2 for picture in fast)]
    path = write(tmp_path / "a.mkv", [*still, *slow, *wild])
    start, frames = liveliest_part(path, Fraction(1), 100, lambda image: image)
    assert len(frames) == 25
    assert 3 <= start < 6
    _, whole = part_at(path, start, Fraction(1), 100, lambda image: image)
    assert whole
    cut, whole = part_at(path, Fraction(25 * 6 + 10, 25), Fraction(1), 100, lambda image: image)
    assert (len(cut), whole) == (10, False)


def test_sheet_and_clip_show_all_networks(tmp_path: Path, weights: list[str]) -> None:
    source, names = write_clip(tmp_path / "in.mp4", frames=12), list[str]()

    def reporting(network: PreviewedNetwork) -> None:
        names.append(network.weights)

    made = preview(source, tmp_path / "sheet.png", CPU, PreviewOptions(weights=weights), reporting)
    assert names == ["pair", "stream"]
    assert [one.estimate is not None and one.estimate.seconds > 0 for one in made.tried] == [True, True]
    assert all(one.estimate and one.estimate.bytes for one in made.tried)
    height, width = cv2.imread(str(made.sheet)).shape[:2]
    assert (height > 2 * 128, width) == (True, 3 * 320 + 2 * 8)
    with av.open(str(made.clip)) as container:
        frames = list(container.decode(video=0))
        assert (frames[0].width, frames[0].height) == (width, height - 128)
        assert len(frames) == 23
        assert frames[-1].time == pytest.approx(1.1)
    assert "whole frames" in made.note
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "sheet.png", "sheet.mp4"}
    json.dumps(made.to_dict())


def test_reading_and_the_margins_of_tiles_are_part_of_the_estimate(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tiles, each as large as the frame; writing takes 2 s a picture, checking 1 s, reading 3 s a frame."""
    whole = (0, 0, HEIGHT, WIDTH)
    monkeypatch.setattr(
        Upscaler,
        "tiles",
        lambda *given, **options: (Tile(whole, whole),) * (2 if given[1:] == (HEIGHT, WIDTH) and not options else 1),
    )
    monkeypatch.setattr(
        "safa.jobs.estimate.encode_sample", lambda pictures, *given: EncodedSample(2.0, 1.0, [1] * len(pictures))
    )
    monkeypatch.setattr(module, "reading_seconds", lambda job: 3.0)
    source = write_clip(tmp_path / "in.mp4", frames=12)
    (tried,) = preview(source, tmp_path / "s.png", CPU, PreviewOptions(weights=weights[:1])).tried
    assert tried.estimate is not None
    assert tried.estimate.seconds == pytest.approx(2 * tried.seconds + 23 * (2 + 1) + 12 * 3)


def test_no_estimate_for_frames_that_do_not_fit_into_memory(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Upscaler.tiles

    def tiles(self: Upscaler, *given: Any, **options: Any) -> Any:
        if given == (HEIGHT, WIDTH) and not options:
            raise OutOfMemory("Too large.")
        return usual(self, *given, **options)

    monkeypatch.setattr(Upscaler, "tiles", tiles)
    made = preview(write_clip(tmp_path / "in.mp4"), tmp_path / "s.png", CPU, PreviewOptions(weights=weights[:1]))
    assert made.tried[0].summary() == "the time for the whole file cannot be estimated"


def test_the_middle_of_large_frames_is_shown(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 400)
    made = preview(write_clip(tmp_path / "in.mp4"), tmp_path / "s.png", CPU, PreviewOptions(weights=weights[:1]))
    assert "the middle 24x16 of 48x32" in made.note


@pytest.mark.parametrize(
    "settings",
    [
        UpscaleSettings(scale=1),
        UpscaleSettings(scale="2.5", fps=Fraction(60), slow=Fraction(2)),
        UpscaleSettings(rate=1, codec="h265"),
        UpscaleSettings(size="96x-1"),
    ],
)
def test_previews_of_various_settings(tmp_path: Path, weights: list[str], settings: UpscaleSettings) -> None:
    options = PreviewOptions(weights=weights[1:])
    made = preview(write_clip(tmp_path / "in.mp4"), tmp_path / "s.png", settings.changed(device="cpu"), options)
    assert made.sheet.exists()
    assert made.clip.exists()


def test_previews_of_unusual_sources(tmp_path: Path, weights: list[str]) -> None:
    def shaped(stream: Any) -> None:
        stream.sample_aspect_ratio = Fraction(4, 3)

    deep = make_video(tmp_path / "deep.mkv", codec="ffv1", pixel_format="yuv444p10le", size=(35, 21), configure=shaped)
    single = write_clip(tmp_path / "single.mp4", frames=1)
    turned = tmp_path / "turned.mp4"
    with av.open(str(write_clip(tmp_path / "plain.mp4", sound=False))) as plain, av.open(str(turned), "w") as film:
        stream = film.add_stream_from_template(plain.streams.video[0])
        stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = stream
                film.mux(packet)
    for source in (deep, single, turned):
        made = preview(source, tmp_path / f"{source.stem}-sheet.png", CPU, PreviewOptions(weights=weights[:1]))
        assert made.clip.exists()
    upright = cv2.imread(str(tmp_path / "turned-sheet.png"))
    assert upright.shape[0] > 2 * 4 * 48


def test_bytes_are_estimated_for_whole_frames_of_the_whole_file(tmp_path: Path) -> None:
    """Noise in the middle of the picture, in the last of three seconds."""
    plain, generator = np.full((96, 128, 3), 90, np.uint8), np.random.default_rng(1)
    pictures = [plain.copy() for _ in range(75)]
    for picture in pictures[50:]:
        picture[32:64, 48:80] = generator.integers(0, 256, (32, 32, 1))
    path = write(tmp_path / "a.mkv", pictures, "libx264", "yuv420p")
    with open_reader(path) as reader:
        job = prepare_job(reader, path, tmp_path / "out.mp4", UpscaleSettings())

    def middle(image: np.ndarray) -> np.ndarray:
        return image[32:64, 48:80]

    ratio = byte_ratio_in_frame(path, Fraction(2), job, middle)
    assert ratio is not None
    assert 0.9 < ratio < 2  # the frame has 12 times the pixels
    assert byte_ratio_in_time(path, Fraction(2), Fraction(1)) == pytest.approx(1 / 3, rel=0.2)
    assert byte_ratio_in_time(path, Fraction(0), Fraction(3)) == pytest.approx(1, rel=0.1)
    assert byte_ratio_in_time(tmp_path / "nothing.mkv", Fraction(0), Fraction(3)) == 1


def test_a_folder_of_pictures(tmp_path: Path, weights: list[str]) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((20, 30, 3), 40 * number, np.uint8))
    settings = CPU.changed(source_fps=Fraction(4))
    made = preview(folder, tmp_path / "s.png", settings, PreviewOptions(weights=weights[:1]))
    assert made.seconds == 1


def test_impossible_previews_are_refused(tmp_path: Path, weights: list[str]) -> None:
    source = write_clip(tmp_path / "in.mp4")
    for arguments, options, message in (
        (("-", tmp_path / "s.png"), {}, "a pipe"),
        ((source, tmp_path / "s.jpg"), {}, "ends in .png"),
        ((source, tmp_path / "no" / "s.png"), {}, "is no folder"),
        ((source, tmp_path / "s.png"), {"at": Fraction(60)}, "no picture at or after"),
        ((tmp_path / "nothing.mp4", tmp_path / "s.png"), {}, "no such file"),
    ):
        with pytest.raises(SafaError, match=message):
            preview(*arguments, CPU, PreviewOptions(weights=weights[:1], **options))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
