"""Tiles: geometry, seams, one choice of scales, and lack of memory."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safa.checkpoint import Checkpoint
from safa.engine import ENGINES
from safa.engine.base import ScaleChoice
from safa.engine.memory import MIB
from safa.errors import OutOfMemory
from safa.upscaler.tiling import Tile, margin_for, plan_tiles, resolve_scales, smallest_cost
from safa.upscaler.upscaler import Upscaler
from tests.conftest import streaming_network, tiny_network

SIDES = st.integers(1, 60).map(lambda count: 8 * count)


def scene(height: int, width: int, shift: int, channels: int = 3) -> np.ndarray:
    """Return a soft random picture, moved to the left by ``shift`` pixels, with a brighter right half."""
    coarse = np.random.default_rng(0).integers(0, 160, (height // 6 + 2, width // 6 + 6, channels))
    wide = np.kron(coarse, np.ones((6, 6, 1), int))[:height]
    picture = wide[:, shift : shift + width]
    picture[:, width // 2 :] += 80
    return picture.astype(np.uint8)


def tiny_upscaler(engine: str = "auto", **layout: object) -> Upscaler:
    network = tiny_network(**{"grid": "input", "blend_prior": True, "flow_prior": "dis", **layout})
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu", precision="float32", engine=engine)


@given(height=SIDES, width=SIDES, margin=st.integers(0, 6).map(lambda count: 8 * count), most=st.integers(1, 300_000))
def test_tiles_cover_the_frame_once_with_margins_inside(height: int, width: int, margin: int, most: int) -> None:
    tiles = plan_tiles(height, width, 8, margin, most)
    if not tiles:
        assert smallest_cost(height, width, 8, margin) > most
        return
    covered = np.zeros((height, width), int)
    for tile in tiles:
        top, left, bottom, right = tile.core
        covered[top:bottom, left:right] += 1
        assert tile.cost <= most
        assert not any(edge % 8 for edge in (*tile.core, *tile.padded))
        wanted = (max(0, top - margin), max(0, left - margin), min(height, bottom + margin), min(width, right + margin))
        assert tile.padded == (wanted if len(tiles) > 1 else tile.core)
    assert (covered == 1).all()


def test_margin_grows_with_motion_within_bounds() -> None:
    still, fast, wild = (np.full((40, 40, 2), reach, np.float32) for reach in (0, 40, 4000))
    margins = [margin_for((still, flow), 8) for flow in (still, fast, wild)]
    assert margins == sorted(set(margins))
    assert margins[-1] <= 96


@pytest.mark.parametrize("layout", [{}, {"grid": "paper"}], ids=str)
@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("auto", "onnx")])
def test_no_seams(engine: str, layout: dict[str, object]) -> None:
    upscaler = tiny_upscaler(engine, **layout)
    first, second = (scene(83, 117, shift, channels=4) for shift in (0, 3))

    def pictures() -> list[np.ndarray]:
        return upscaler.at_times(upscaler.pair(upscaler.encode(first), upscaler.encode(second)), [0.0, 0.4])

    whole = pictures()
    upscaler.budget.shrink(2 * 100 * 100)
    assert len(upscaler.tiles(83, 117)) > 1
    tiled = pictures()
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(whole, tiled, strict=True))


def test_no_seams_in_a_window() -> None:
    upscaler = Upscaler(Checkpoint.of(streaming_network(), "tiny"), device="cpu", precision="float32")
    asks = [(0, 0.0), (1, 0.4), (3, 0.0), (3, 0.7)]

    def pictures() -> list[np.ndarray]:
        window = upscaler.window([upscaler.encode(scene(83, 240, 2 * k, channels=4)) for k in range(5)])
        return list(upscaler.pictures(window, asks))

    whole = pictures()
    upscaler.budget.shrink(2 * 21000)
    assert len(upscaler.tiles(83, 240)) > 1
    tiled = pictures()
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(whole, tiled, strict=True))


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("auto", "onnx")])
def test_the_selector_decides_for_the_frame(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = undecided_upscaler(engine)
    frames = [scene(96, 160, shift) for shift in (0, 2)]
    pair = upscaler.pair(*map(upscaler.encode, frames))
    whole, expected = upscaler.at(pair, 0.5), upscaler.details(pair, 0.5).choice.scales
    synthesize, runs = upscaler.engine.synthesize, []

    def watched(*arguments: object) -> object:
        runs.append(synthesize(*arguments))  # type: ignore[arg-type]
        return runs[-1]

    monkeypatch.setattr(upscaler.engine, "synthesize", watched)
    upscaler.budget.shrink(2 * 96 * 96)
    tiled = upscaler.at(pair, 0.5)
    choices = [result.choice.scales for result in runs]
    assert [choice for choice in choices if choice != expected], "the tiles agreed by themselves"
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def undecided_upscaler(engine: str) -> Upscaler:
    """Return an upscaler whose selector chooses by brightness, so that it differs between the halves of ``scene``."""
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis")
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu", engine="torch")
    pair = upscaler.pair(*(upscaler.encode(scene(96, 160, shift)) for shift in (0, 2)))
    assert network.selector is not None
    with torch.no_grad():
        network.selector.decide.weight.mul_(40)
        state = upscaler._cache.of_window(pair, upscaler._whole(96, 160)).pair(0)
        halves = [
            torch.tensor(upscaler.engine.synthesize(state, 0.5, None, region).choice.logits[0])
            for region in ((0, 0, 96, 80), (0, 80, 96, 160))
        ]
        network.selector.decide.bias.sub_(0.4 * halves[0] + 0.6 * halves[1])
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu", precision="float32", engine=engine)


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(2, 3), st.integers(1, 6))
def test_tiles_agree_independently_of_their_order(source: random.Random, blocks: int, scales: int, count: int) -> None:
    tiles = [Tile((0, 0, 8, 8 * k), (0, 0, 8, 8 * k)) for k in range(1, count + 1)]
    thoughts = {(tile, k): source.uniform(-1, 1) for tile in tiles for k in range(blocks * (scales - 1) * scales)}

    def choose(tile: Tile, settled: object) -> ScaleChoice:
        """Return logits that depend on the tile and on the previous block, like a selector's."""
        forced = list(settled) if settled is not None else [None] * blocks  # type: ignore[call-overload]
        chosen: list[int] = []
        logits = []
        for block, scale in enumerate(forced):
            before = chosen[-1] if chosen else 0
            own = [thoughts[tile, (block * scales + before) * (scales - 1) + k] for k in range(scales - 1)]
            free = max((k + 1 for k, logit in enumerate(own) if not logit > 0), default=0)
            chosen.append(free if scale is None else scale)
            logits.append(tuple(own) if scale is None else (float("nan"),) * (scales - 1))
        return ScaleChoice(tuple(chosen), tuple(logits))

    outcomes = []
    for order in (tiles, tiles[::-1]):
        last = {tile: choose(tile, None) for tile in order}

        def again(tile: Tile, settled: object, last: dict[Tile, ScaleChoice] = last) -> ScaleChoice:
            last[tile] = choose(tile, settled)
            return last[tile]

        resolve_scales(order, [last[tile] for tile in order], again)
        outcomes.append({decision.scales for decision in last.values()})
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 1


def hungry(upscaler: Upscaler, most: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make its engine run out of memory with frames of more than ``most`` pixels."""
    encode = upscaler.engine.encode_frame

    def limited(frame: np.ndarray) -> object:
        if frame.shape[0] * frame.shape[1] > most:
            raise error
        return encode(frame)

    monkeypatch.setattr(upscaler.engine, "encode_frame", limited)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        OutOfMemory("no"),
        RuntimeError("can't allocate memory"),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_leads_to_smaller_tiles(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = tiny_upscaler()
    frames = [scene(80, 128, shift) for shift in (0, 2)]
    (whole,) = upscaler.between(*frames, [0.5])
    hungry(upscaler, 7000, error, monkeypatch)
    (tiled,) = upscaler.between(*frames, [0.5])
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_out_of_memory_with_the_smallest_tiles_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = tiny_upscaler()
    hungry(upscaler, 0, MemoryError(), monkeypatch)
    with pytest.raises(OutOfMemory, match="smallest tiles"):
        upscaler.between(scene(80, 128, 0), scene(80, 128, 2), [0.5])


@pytest.mark.parametrize(
    "error", [MemoryError(), cv2.error("error: (-4:Insufficient memory) Failed to allocate 9 bytes")]
)
def test_out_of_memory_for_flow_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = tiny_upscaler()

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("safa.upscaler.state_cache.classical_flow", fail)
    with pytest.raises(OutOfMemory, match="Memory runs out while motion in frames of 128x80 is estimated"):
        upscaler.between(scene(80, 128, 0), scene(80, 128, 2), [0.5])


def test_other_errors_are_not_reported_as_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = tiny_upscaler()
    hungry(upscaler, 0, RuntimeError("an illegal memory access was encountered"), monkeypatch)
    with pytest.raises(RuntimeError, match="illegal"):
        upscaler.between(scene(16, 16, 0), scene(16, 16, 2), [0.5])


def test_a_ceiling_that_cannot_be_met_names_the_minimum() -> None:
    network = tiny_network(grid="input", flow_prior="dis")
    with pytest.raises(
        OutOfMemory, match=r"Frames of 1920x1080 need a memory ceiling of at least [\d.]+[GM] here"
    ) as caught:
        Upscaler(Checkpoint.of(network, "tiny"), device="cpu", memory=400 * MIB).tiles(1080, 1920)
    from safa.options import parse_memory

    least = parse_memory(str(caught.value).split("least ")[1].split()[0])
    assert Upscaler(Checkpoint.of(network, "tiny"), device="cpu", memory=least).tiles(1080, 1920)
