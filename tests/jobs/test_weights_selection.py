"""Automatic weights and their detail."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import safa.checkpoint
from safa.checkpoint import SHIPPED, load_checkpoint, save_checkpoint
from safa.errors import SafaError
from safa.jobs.batch import upscale_many
from safa.jobs.plan import PIPE
from safa.jobs.upscale import upscale
from safa.jobs.weights_selection import Networks, WeightsChoice, choose_weights
from safa.options import ComputeOptions, UpscaleSettings, WeightsSpec
from safa.video.probe import look_at
from tests.conftest import tiny_network
from tests.media import write_video

TEXTURE = np.random.default_rng(1).integers(0, 256, (12, 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def write(path: Path, codec: str, options: dict[str, str], frames: int = 6) -> Path:
    """Write a moving texture, 96x128."""

    def bit_rate(stream: Any) -> None:
        if codec.startswith("mpeg"):
            stream.bit_rate = 50_000_000

    pictures = (TEXTURE[:, 5 * k : 5 * k + 128] for k in range(frames))
    return write_video(path, pictures, codec=codec, options=options, configure=bit_rate)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny networks under the names of the shipped ones."""
    folder = tmp_path / "weights"
    folder.mkdir()
    lines = []
    for number, name in enumerate(("fast", "real", "vivid")):
        network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
        torch.manual_seed(number)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        lines.append(f"{save_checkpoint(network, folder / f'{name}.safetensors')}  {name}.safetensors\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
    monkeypatch.setattr(safa.checkpoint, "SHIPPED", folder)
    return folder


@pytest.mark.parametrize(
    ("codec", "options", "fine", "coarse"),
    [
        ("libx264", "crf", "12", "30"),
        ("mpeg2video", "qmin qmax", "2", "9"),
        ("mpeg4", "qmin qmax", "2", "9"),
        ("libvpx-vp9", "crf b=0", "8", "50"),
        ("libx265", "crf", "1", "40"),
    ],
)
def test_visibly_compressed_footage_gets_its_own_weights(
    tmp_path: Path, codec: str, options: str, fine: str, coarse: str
) -> None:
    chosen = []
    for level in (fine, coarse):
        given = {name: value or level for name, _, value in (part.partition("=") for part in options.split())}
        if codec == "libx265":
            given["x265-params"] = "log-level=none"
        chosen.append(choose_weights(write(tmp_path / "clip.mkv", codec, given)))
    assert [choice.name for choice in chosen] == ["fast", "real"], chosen


def test_the_quantiser_is_the_encoders(tmp_path: Path) -> None:
    for codec in ("mpeg2video", "mpeg4"):
        path = write(tmp_path / "clip.mkv", codec, {"qmin": "7", "qmax": "7"})
        assert look_at(path).quantiser == pytest.approx(7)
    path = write(tmp_path / "clip.mkv", "libx264", {"qp": "31", "ipratio": "1", "pbratio": "1"})
    assert look_at(path).quantiser == pytest.approx(31, abs=1)
    assert look_at(write(tmp_path / "clip.mkv", "ffv1", {})).quantiser is None


def test_sources_that_cannot_be_examined_get_the_default(tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("not a film")
    assert [choose_weights(path).name for path in (PIPE, tmp_path, tmp_path / "letter.mp4")] == ["fast"] * 3


def test_detail_lies_on_the_line_between_two_networks(shipped: Path) -> None:
    ends = [load_checkpoint(name).network.state_dict() for name in ("real", "vivid")]
    between = load_checkpoint("real@0.25")
    assert between.name == "real@0.25"
    moved = 0
    for name, value in between.network.state_dict().items():
        if value.is_floating_point() and not name.startswith("selector."):
            torch.testing.assert_close(value, 0.75 * ends[0][name] + 0.25 * ends[1][name])
            moved += not torch.equal(ends[0][name], ends[1][name])
        else:
            assert torch.equal(value, ends[0][name])
    assert moved > 10
    digests = {load_checkpoint(f"real@{detail}").sha256 for detail in ("0", "0.25", "0.26", "1")}
    assert len(digests) == 4
    assert load_checkpoint("real@0").sha256 == load_checkpoint("real").sha256


@pytest.mark.parametrize("name", ["real@2", "real@-0.1", "real@nan", "real@", "real@much"])
def test_detail_is_a_number_from_0_to_1(shipped: Path, name: str) -> None:
    with pytest.raises(SafaError, match="from 0"):
        load_checkpoint(name)


def test_chosen_weights_have_detail_by_default(shipped: Path, tmp_path: Path) -> None:
    coarse = write(tmp_path / "coarse.mkv", "libx264", {"crf": "34"})
    fine = write(tmp_path / "fine.mkv", "libx264", {"crf": "8"})
    assert Networks().name_for(coarse) == "real@0.3"
    assert Networks().name_for(fine) == "fast@0.3"
    assert Networks(WeightsSpec(detail=0)).name_for(fine) == "fast@0"
    assert Networks(WeightsSpec(detail=0)).name_for(coarse) == "real@0"
    assert Networks(WeightsSpec("real")).name_for(coarse) == "real"


def test_detail_is_refused_for_other_weights(shipped: Path) -> None:
    with pytest.raises(SafaError, match="cannot be given more detail"):
        WeightsSpec(str(shipped / "real.safetensors"), 0.5)
    with pytest.raises(SafaError, match="from 0"):
        WeightsSpec(detail=1.5)
    assert shipped != SHIPPED


def test_each_file_of_a_batch_gets_its_own_weights(shipped: Path, tmp_path: Path) -> None:
    clean, coarse = (write(tmp_path / f"{crf}.mkv", "libx264", {"crf": crf}, 3) for crf in ("10", "40"))
    choices: list[WeightsChoice] = []
    networks = Networks(WeightsSpec(detail=0.5), ComputeOptions("cpu", "torch"), choices.append)
    jobs = [(path, tmp_path / "out" / path.name) for path in (clean, coarse)]
    settings = UpscaleSettings(rate=1, scale=1)
    outcomes = upscale_many(jobs, settings, networks)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [choice.name for choice in choices] == ["fast@0.5", "real@0.5"]
    again = upscale_many(jobs, settings, networks)
    assert all(outcome.report is None and outcome.error is None for outcome in again)
    upscale(coarse, tmp_path / "alone.mkv", detail=0.5, device="cpu", engine="torch", settings=settings)
    assert _frames(tmp_path / "alone.mkv") == _frames(jobs[1][1])
    upscale(coarse, tmp_path / "other.mkv", weights="fast", device="cpu", engine="torch", settings=settings)
    assert _frames(tmp_path / "other.mkv") != _frames(jobs[1][1])


def _frames(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
