"""Results of one or two pictures, and the stills of a video."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safa.checkpoint import Checkpoint, arrays_of
from safa.jobs.upscale import upscale
from safa.upscaler.upscaler import Upscaler
from safa.video.pictures import load_picture, side_by_side
from safa.web.jobs import DONE, JobStore
from safa.web.results import make_between, save_stills
from tests.conftest import tiny_network
from tests.video.making import make_video
from tests.web.making import make_job, tiny_weights, workers_of, write_picture


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs", keep=3600)


def test_two_pictures_give_those_between_and_a_loop(store: JobStore, weights: Path, tmp_path: Path) -> None:
    pictures = [write_picture(tmp_path / f"{shade}.png", shade) for shade in (20, 140)]
    job = make_job(store, *pictures, count="3")
    folder = store.folder_of(job)
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")
    with zipfile.ZipFile(folder / job.result["file"]) as archive:
        assert archive.namelist() == [f"{number:02d}.png" for number in range(5)]
    made = [load_picture(folder / "pictures" / f"{number:02d}.png") for number in range(5)]
    assert {picture.shape for picture in made} == {(56, 80, 3)}
    with Image.open(folder / "loop.webp") as loop:
        assert loop.n_frames == 8  # type: ignore[attr-defined]


def test_pictures_of_other_weights_are_not_mixed_in(tmp_path: Path) -> None:
    for name, shade in (("input", 20), ("input2", 140)):
        write_picture(tmp_path / f"{name}.png", shade).rename(tmp_path / name)
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    files = [Checkpoint(network.config, arrays_of(network), "tiny", digit * 64) for digit in "01"]
    before, after = (Upscaler(file, device="cpu") for file in files)
    assert make_between(tmp_path, 2, 3, before, lambda progress: None)["resumed"] == 0
    (tmp_path / "pictures" / "01.png").unlink()
    assert make_between(tmp_path, 2, 3, before, lambda progress: None)["resumed"] == 2
    assert make_between(tmp_path, 2, 3, after, lambda progress: None)["resumed"] == 0


def test_a_video_s_stills_are_turned_as_the_source_is(tmp_path: Path) -> None:
    """A GIF cannot hold a rotation."""

    def turned(stream: Any) -> None:
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])

    source, output = make_video(tmp_path / "in.mp4", range(2), configure=turned), tmp_path / "out.gif"
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    upscale(source, output, scale=1, upscaler=Upscaler(Checkpoint.of(network, "tiny"), device="cpu"))
    save_stills(source, output, Fraction(1), tmp_path)
    both = side_by_side(source, output)
    for name, half in (("before", both[:, :48]), ("after", both[:, 56:])):
        with Image.open(tmp_path / f"{name}.webp") as picture:
            assert picture.size == (48, 64)
            assert np.abs(np.asarray(picture.convert("RGB"), int) - half).mean() < 8


def test_one_picture_is_enlarged(store: JobStore, weights: Path, tmp_path: Path) -> None:
    job = make_job(store, write_picture(tmp_path / "a.png", 50))
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert load_picture(store.folder_of(job) / job.result["file"]).shape == (56, 80, 3)
