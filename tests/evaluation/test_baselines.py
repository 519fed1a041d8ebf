"""The two-frame methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from safa.checkpoint import Checkpoint
from safa.evaluation.methods import BASELINES, Method, blend, classical, hold, network_method, stream_method
from safa.evaluation.protocols import EvaluationWindow
from safa.metrics import psnr
from safa.network.safa import Safa
from safa.upscaler.upscaler import Upscaler
from tests.conftest import streaming_network, tiny_network
from tests.evaluation.footage import moving


@pytest.mark.parametrize("method", [*BASELINES, network_method(tiny_network(), "network")], ids=lambda m: m.name)
def test_every_method_gives_four_times_larger_pictures_at_any_size(method: Method) -> None:
    frame0, frame1 = torch.rand(2, 1, 3, 13, 21, generator=torch.Generator().manual_seed(1))
    pictures = list(method.interpolate(frame0, frame1, [0, 0.3, 1]))
    assert [picture.shape for picture in pictures] == [(1, 3, 52, 84)] * 3
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in pictures)


def test_hold_takes_the_nearer_frame() -> None:
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    means = [picture.mean().item() for picture in hold(black, white, [0, 0.25, 0.5, 0.75, 1])]
    assert means == [0, 0, 0, 1, 1]


def test_blending_follows_time() -> None:
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    means = [picture.mean().item() for picture in blend(black, white, [0, 0.25, 0.5, 1])]
    assert means == pytest.approx([0, 0.25, 0.5, 1])


@pytest.mark.parametrize("index", [1, 3])
def test_the_classical_route_follows_motion(index: int) -> None:
    # 3 pixels a frame on waves of about 35 pixels: mixing the ends blurs, moving them does not.
    window = EvaluationWindow("x", 0, tuple(moving(5, height=96, width=160, step=3)))
    inside = slice(24, -24)
    t = [index / 4]

    def quality(picture: torch.Tensor) -> float:
        return psnr(picture[..., inside, inside], window.truth(index)[..., inside, inside]).item()

    mixed, moved = next(blend(*window.inputs(), t)), next(classical(*window.inputs(), t))
    assert quality(moved) > quality(mixed) + 6


def test_the_network_sees_frames_padded_by_their_edges(input_network: Safa) -> None:
    frame0, frame1 = torch.rand(2, 1, 3, 13, 21, generator=torch.Generator().manual_seed(1))
    padded = [F.pad(frame, (0, 3, 0, 3), mode="replicate") for frame in (frame0, frame1)]
    with torch.no_grad():
        expected = input_network(*padded, [0.3])[:, 0, :, :52, :84]
    (picture,) = network_method(input_network, "x").interpolate(frame0, frame1, [0.3])
    assert np.array_equal(picture.numpy(), expected.numpy())


def test_the_network_is_encoded_once_for_all_times(input_network: Safa, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = input_network.encode
    monkeypatch.setattr(input_network, "encode", lambda *frames: calls.append(1) or encode(*frames))
    frame0, frame1 = torch.rand(2, 1, 3, 16, 16)
    assert len(list(network_method(input_network, "x").interpolate(frame0, frame1, [0, 0.2, 0.7]))) == 3
    assert len(calls) == 1


def test_a_network_is_shown_the_stream() -> None:
    upscaler = Upscaler(Checkpoint.of(streaming_network(), "tiny"), device="cpu")
    method = stream_method(upscaler, "x")
    inputs = [torch.rand(1, 3, 8, 12) for _ in range(4)]
    assert method.stream is not None
    first, later = (next(method.stream(inputs, place, [0.5])) for place in (0, 2))
    window = upscaler.window([upscaler.encode(one[0].permute(1, 2, 0).numpy()) for one in inputs])
    for picture, place in ((first, 0), (later, 2)):
        expected = torch.from_numpy(upscaler.at(window, 0.5, pair=place)).permute(2, 0, 1)[None]
        assert torch.equal(picture, expected)
    alone = next(method.interpolate(inputs[0], inputs[1], [0.5]))
    assert not torch.allclose(alone, first)
