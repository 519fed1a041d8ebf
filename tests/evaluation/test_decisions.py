"""Pictures of what a network decides for a pair."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from safa.errors import MediaError, SafaError
from safa.evaluation.inspect import decide, inspect_pair, read_pair
from safa.evaluation.methods import network_method
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import to_tensor
from safa.network.safa import Safa
from safa.video.file_source import VideoReader
from safa.video.pictures import load_picture
from tests.conftest import tiny_network
from tests.evaluation.footage import moving, save_video
from tests.video.making import SIZE, make_video


@pytest.mark.parametrize("grid", ["paper", "input"])
def test_decisions_are_those_of_the_evaluated_network(grid: str) -> None:
    network = tiny_network(grid=grid)
    frame0, frame1 = moving(2, height=21, width=35, step=2)
    (decision,) = decide(network, frame0, frame1, [0.3])
    (expected,) = network_method(network, "x").interpolate(to_tensor(frame0), to_tensor(frame1), [0.3])
    assert np.array_equal(decision.image, image_of(expected))
    assert all(flow.shape == (84, 140, 2) for flow in (*decision.flow, *decision.classical))
    assert decision.mask.shape == (84, 140)
    assert (len(decision.scales), np.shape(decision.probabilities)) == (2, (2, 2))


def test_flow_is_in_pixels_of_the_output() -> None:
    # A network whose heads are zero keeps the classical flow that it starts from.
    network = tiny_network(grid="input", flow_prior="dis")
    for parameter in network.flow_head.parameters():
        parameter.data.zero_()
    frame0, frame1 = moving(2, height=64, width=96, step=3)
    (decision,) = decide(network, frame0, frame1, [0.25])
    middle = (slice(80, -80), slice(80, -80))
    for flow in (decision.flow, decision.classical):
        assert np.median(flow[0][middle], axis=(0, 1)) == pytest.approx([-0.25 * 3 * 4, 0], abs=0.5)
        assert np.median(flow[1][middle], axis=(0, 1)) == pytest.approx([0.75 * 3 * 4, 0], abs=0.5)


def test_every_picture_is_written(tmp_path: Path, input_network: Safa) -> None:
    frame0, frame1 = moving(2, height=16, width=24)
    folder = tmp_path / "new" / "folder"
    written = inspect_pair(input_network, frame0, frame1, folder, times=[0, 0.5])
    assert sorted(folder.iterdir()) == sorted(written)
    for kind in ("result", "fusion", "flow0", "flow1", "classical0", "classical1", "mask"):
        assert load_picture(folder / f"t0.500_{kind}.png").shape == (64, 96, 3)
    numbers = json.loads(written[-1].read_text())
    assert [one["t"] for one in numbers["times"]] == [0, 0.5]
    assert len(numbers["times"][0]["chosen_scale_of_blocks"]) == input_network.config.blocks


def test_a_network_without_image_fusion_has_no_picture_of_it(tmp_path: Path) -> None:
    frame0, frame1 = moving(2, height=16, width=24)
    names = {path.stem for path in inspect_pair(tiny_network(fusion="feature"), frame0, frame1, tmp_path, times=[0.5])}
    assert "t0.500_result" in names
    assert "t0.500_fusion" not in names


def test_frames_of_different_size_are_refused(input_network: Safa) -> None:
    with pytest.raises(SafaError, match="differ in size: 64x48 and 80x48"):
        decide(input_network, moving(1)[0], moving(1, width=80)[0], [0.5])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, input_network: Safa) -> None:
    (tmp_path / "file").touch()
    frame0, frame1 = moving(2, height=16, width=24)
    with pytest.raises(SafaError, match="cannot be written to"):
        inspect_pair(input_network, frame0, frame1, tmp_path / "file" / "below", times=[0.5])


def test_a_pair_is_read_from_the_middle_or_where_asked(tmp_path: Path) -> None:
    frames = moving(24)
    path = save_video(tmp_path / "x.mkv", frames)
    for at, index in ((None, 12), (Fraction(6, 24), 6), (Fraction(22, 24), 22)):
        assert np.array_equal(read_pair(path, at), frames[index : index + 2])
    with pytest.raises(MediaError, match="no two frames"):
        read_pair(path, Fraction(95, 100))


@pytest.mark.parametrize(("sine", "turns"), [(0, 0), (65536, -1), (-65536, 1)])
def test_a_pair_is_seen_as_players_show_it(tmp_path: Path, sine: int, turns: int) -> None:
    matrix = [0 if sine else 65536, sine, 0, -sine, 0 if sine else 65536, 0, 0, 0, 1 << 30]
    path = make_video(tmp_path / "turned.mp4", configure=lambda stream: stream.set_display_matrix(matrix))
    with VideoReader(path) as reader:
        stored = [frame.image for frame in reader.frames()]
    for as_seen, picture in zip(read_pair(path), stored[6:8], strict=True):
        assert picture.shape[1::-1] == SIZE
        assert np.array_equal(as_seen, np.rot90(picture, turns))
