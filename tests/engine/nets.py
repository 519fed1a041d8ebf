"""Networks and comparisons shared by the tests of the engines."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from safa.checkpoint import arrays_of
from safa.engine import library
from safa.engine.base import Engine, Rendering
from safa.engine.native import NativeEngine
from safa.engine.torch import TorchEngine
from safa.errors import SafaError
from safa.network.dis_flow import Flow
from safa.network.safa import Safa
from tests.conftest import tiny_network


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
) -> tuple[np.ndarray, np.ndarray, tuple[Flow, Flow]]:
    """Two frames ``h,w,3`` and classical flow both ways of up to ``reach`` pixels.

    The flow is smooth: between neighbours at -200 and 200, float32 itself leaves positions uncertain by 1e-4 pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.rand(1, 3, height, width, generator=generator) for _ in range(2)]
    coarse = [reach * (2 * torch.rand(1, 2, 2, 3, generator=generator) - 1) for _ in range(2)]
    flows = [F.interpolate(field, (height, width), mode="bilinear", align_corners=True) for field in coarse]
    first, second = (frame[0].permute(1, 2, 0).numpy() for frame in frames)
    forward, backward = (flow[0].permute(1, 2, 0).numpy() for flow in flows)
    return first, second, (forward, backward)


def native_engine(
    network: Safa, threads: int | None = None, build: str | None = None, precision: str = "float32"
) -> NativeEngine:
    """The native engine with a module's weights."""
    return NativeEngine(network.config, arrays_of(network), threads, build, precision)


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """In dB, for a peak of 1."""
    error = max(1e-30, float(np.square(ours.astype(np.float64) - theirs).mean()))
    return float(-10 * np.log10(error))


def arrays(engine: Engine, made: Rendering) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, flow and mask."""
    return engine.array(made.image), engine.array(made.flow), engine.array(made.mask)


def assert_same(engines: tuple[Engine, Engine], results: tuple[Rendering, Rendering]) -> None:
    """Equal to 1e-4 and 100 dB, with the same decisions."""
    ours, theirs = results
    assert ours.choice.scales == theirs.choice.scales
    chances = [1 / (1 + np.exp(-np.array(one.choice.logits))) for one in results]
    np.testing.assert_allclose(*chances, atol=1e-4, rtol=0)
    (image, flow, mask), (image1, flow1, mask1) = map(arrays, engines, results)
    np.testing.assert_allclose(image, image1, atol=1e-4, rtol=0)
    np.testing.assert_allclose(mask, mask1, atol=1e-3, rtol=0)
    np.testing.assert_allclose(flow, flow1, atol=1e-3, rtol=1e-4)
    assert psnr(image, image1) >= 100


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
    engines = native_engine(network, threads, build), TorchEngine(network)
    pairs, shown = [], []
    for engine in engines:
        if network.config.propagation:
            window = engine.encode_window([frame0, frame1, frame0], [prior, prior[::-1]])  # type: ignore[attr-defined]
            first, second, _ = (engine.finish_frame(frame) for frame in window)  # type: ignore[attr-defined]
            shown.append(engine.array(engine.picture(first)))  # type: ignore[attr-defined]
        else:
            first, second = (engine.encode_frame(frame) for frame in (frame0, frame1))  # type: ignore[attr-defined]
        known = (*prior, 2 * prior[0] - prior[1]) if network.config.propagation else prior
        pairs.append(engine.encode_pair(first, second, known))  # type: ignore[attr-defined]
    if shown:
        np.testing.assert_allclose(*shown, atol=1e-4, rtol=0)
    for scale in (None, *range(len(network.config.scales))):
        for t in times:
            ours, theirs = (engine.synthesize(pair, t, scale) for engine, pair in zip(engines, pairs, strict=True))  # type: ignore[attr-defined]
            assert_same(engines, (ours, theirs))
