"""Networks and comparisons shared by the tests of the engines."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from safa.engine import library
from safa.engine.native import NativeEngine
from safa.engine.torch import TorchEngine
from safa.errors import SafaError
from safa.network.safa import Safa
from safa.network.states import Synthesis
from tests.conftest import tiny_network

CPU = torch.device("cpu")


def builds() -> tuple[str, ...]:
    """Builds of the native engine that can be tested here."""
    try:
        return library.usable_builds()
    except SafaError:
        return ()


def lively_network(**settings: object) -> Safa:
    """A tiny network whose batch normalisation, biases and slopes all differ from what they start as."""
    network = tiny_network(**settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1, generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)
        for name, parameter in network.named_parameters():
            if name.endswith("act.weight"):
                parameter.uniform_(-0.2, 0.5, generator=generator)
            elif network.config.propagation and name.startswith(("decoder.head", "propagation.decoder")):
                parameter.mul_(0.25)  # or pictures of hundreds come out, rounding errors with them
            elif "flow_change.1" in name:
                parameter.normal_(0, 0.2, generator=generator)
    return network


def random_pair(
    height: int, width: int, seed: int = 0, reach: float = 3.0
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Two frames ``1,3,h,w`` and classical flow both ways of up to ``reach`` pixels.

    The flow is smooth: between neighbours at -200 and 200, float32 itself leaves positions uncertain by 1e-4 pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.rand(1, 3, height, width, generator=generator) for _ in range(2)]
    coarse = [reach * (2 * torch.rand(1, 2, 2, 3, generator=generator) - 1) for _ in range(2)]
    flows = [F.interpolate(field, (height, width), mode="bilinear", align_corners=True) for field in coarse]
    return frames[0], frames[1], (flows[0], flows[1])


def psnr(ours: Tensor, theirs: Tensor) -> float:
    """In dB, for a peak of 1."""
    error = (ours.double() - theirs.double()).square().mean().clamp_min(1e-30)
    return float(-10 * torch.log10(error))


def assert_same(ours: Synthesis, theirs: Synthesis) -> None:
    """Equal to 1e-4 and 100 dB, with the same decisions."""
    assert ours.scale.tolist() == theirs.scale.tolist()
    assert ours.probability.shape == theirs.probability.shape
    torch.testing.assert_close(ours.probability, theirs.probability, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.image, theirs.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.mask, theirs.mask, atol=1e-3, rtol=0)
    torch.testing.assert_close(ours.flow, theirs.flow, atol=1e-3, rtol=1e-4)
    assert psnr(ours.image, theirs.image) >= 100


def compare(
    network: Safa,
    height: int,
    width: int,
    build: str | None = None,
    threads: int = 1,
    seed: int = 0,
    reach: float = 3.0,
    times: tuple[float, ...] = (0.0, 0.3, 1.0),
) -> None:
    """Run both engines on one pair, at every forced scale and as the network chooses."""
    frame0, frame1, prior = random_pair(height, width, seed, reach)
    engines = NativeEngine(network, threads, build), TorchEngine(network, CPU)
    pairs, shown = [], []
    for engine in engines:
        if network.config.propagation:
            window = engine.encode_window([frame0, frame1, frame0], [prior, prior[::-1]])  # type: ignore[attr-defined]
            first, second, _ = (engine.finish_frame(frame) for frame in window)  # type: ignore[attr-defined]
            shown.append(engine.picture(first))  # type: ignore[attr-defined]
        else:
            first, second = (engine.encode_frame(frame) for frame in (frame0, frame1))  # type: ignore[attr-defined]
        pairs.append(engine.encode_pair(first, second, prior))  # type: ignore[attr-defined]
    if shown:
        torch.testing.assert_close(*shown, atol=1e-4, rtol=0)
    for scale in (None, *range(len(network.config.scales))):
        for t in times:
            ours, theirs = (engine.synthesize(pair, t, scale) for engine, pair in zip(engines, pairs, strict=True))  # type: ignore[attr-defined]
            assert_same(ours, theirs)
