"""Networks to measure, and frames to give them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safa.checkpoint import Checkpoint, load_checkpoint
from safa.engine import Engine, pick_engine
from safa.engine.device import CPU, peak_bytes, pick_device, processor_threads, synchronize
from safa.engine.native import NativeEngine
from safa.errors import SafaError, needs_pytorch
from safa.network.dis_flow import Flow
from safa.upscaler.upscaler import Upscaler, span_of

if TYPE_CHECKING:
    from torch import nn


# The paper's layout with random weights: speed at a forced scale does not depend on their values.
PAPER = "paper"

# The engines that a comparison is about, with their precision where there are several.
ENGINES = ("torch", "native")


def engine_called(name: str, checkpoint: Checkpoint, device: str) -> Engine:
    """Return the engine with a name such as "native" (its usual precision) or "native:float32"."""
    engine, _, precision = name.partition(":")
    return pick_engine(engine, checkpoint, device, precision or "auto")


def usable_engines(device: str) -> tuple[list[str], list[str]]:
    """Return the engines of ``ENGINES`` that run on ``device`` here, and a sentence for each that does not.

    Raises:
        SafaError: there is no such device here.
    """
    place, checkpoint, usable, obstacles = pick_device(device), load_checkpoint(), [], []
    for name in ENGINES:
        try:
            usual = pick_engine(name, checkpoint, place, "auto").precision
        except SafaError as error:
            obstacles.append(str(error))
        else:
            usable += [name] if usual == "float32" else [f"{name}:float32", f"{name}:{usual}"]
    return usable, obstacles


def network_called(name: str) -> Checkpoint:
    """Shipped weights, a file, or "paper", which needs PyTorch."""
    if name != PAPER:
        return load_checkpoint(name)
    with needs_pytorch("The paper's network with random weights"):
        import torch

        from safa.network.config import SafaConfig
        from safa.network.safa import Safa
    torch.manual_seed(0)
    return Checkpoint.of(Safa(SafaConfig()).eval(), PAPER)


def random_frames(count: int, width: int, height: int) -> list[NDArray[np.float32]]:
    """Frames ``height,width,3`` of noise in [0, 1]."""
    return list(np.random.default_rng(0).random((count, height, width, 3), np.float32))


def constant_prior(width: int, height: int) -> tuple[Flow, Flow]:
    """Return a classical flow of one and a half pixels, both ways, each ``height,width,2``."""
    flow = np.full((height, width, 2), 1.5, np.float32)
    return flow, -flow


@dataclass(frozen=True)
class Work:
    """A part of a stream that is measured: ``run`` does it once, at the forced scale it is given or as chosen."""

    pairs: int
    run: Callable[[int | None], None]


def stream_work(engine: Engine, size: tuple[int, int], count: int) -> Work:
    """Return a function that makes an engine's work of a stream, with ``count`` output frames for each pair.

    For networks that look at two frames, one pair: a new frame is encoded and joined to one that is there. For
    networks with propagation a whole window with its margins, which serves as many pairs as the window is long.

    Args:
        size: (width, height) of the input.
    """
    span, flows = span_of(engine.config), constant_prior(*size)
    carries = bool(engine.config.propagation)
    frames = random_frames(span.frames, *size)
    known = None if carries else engine.encode_frame(frames[0])

    def run(scale: int | None = None) -> None:
        if carries:
            states = engine.encode_window(frames, [flows] * (len(frames) - 1))
            states = states[span.margin : span.margin + span.length + 1]
        else:
            states = [known, engine.encode_frame(frames[1])]
        second = engine.finish_frame(states[0]) if carries else states[0]
        for state in states[1:]:
            first, second = second, engine.finish_frame(state) if carries else state
            pair = engine.encode_pair(first, second, flows)
            for index in range(count):
                if carries and not index:
                    engine.picture(first)
                else:
                    engine.synthesize(pair, index / count, scale)

    return Work(span.length, run)


# Speed of each engine on this machine: interleaved rounds, medians, and ratios to PyTorch.


@dataclass
class Case:
    """One engine on one network at one size; times in seconds for a pair with all its output frames."""

    weights: str
    engine: str
    width: int
    height: int
    """Sides of the low-resolution input in pixels."""
    scale: str
    """Forced scale, or "selected"."""
    frames: int
    """Output frames made of the pair."""
    operations: int | None
    """Floating-point operations of the pair, 2 per multiply-add, as PyTorch's layers count them; None without it."""
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    """Peak bytes beyond what was in use before; None where the system does not tell."""

    @property
    def median(self) -> float:
        """Seconds for the pair."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Bench:
    """All cases and the machine's ceiling."""

    cases: list[Case]
    peak: float
    """Operations per second of a 2048 x 2048 float32 matrix product on this device."""
    threads: int
    device: str

    def ratio(self, case: Case) -> float | None:
        """Speed relative to PyTorch; None if PyTorch was not measured."""
        for other in self.cases:
            same = (other.weights, other.width, other.height, other.scale, other.frames)
            here = (case.weights, case.width, case.height, case.scale, case.frames)
            if other.engine in ("torch", "torch:float32") and same == here:
                return other.median / case.median
        return None

    def rows(self) -> list[list[str]]:
        """Return the table's rows, the heading first."""
        heading = ["weights", "input", "scale", "frames", "engine", "s/frame", "x torch", "GFLOP/s", "% of peak", "MiB"]
        rows = [heading]
        for case in self.cases:
            ratio = self.ratio(case)
            speed = None if case.operations is None else case.operations / case.median
            rows.append(
                [
                    case.weights,
                    f"{case.width}x{case.height}",
                    case.scale,
                    str(case.frames),
                    case.engine,
                    f"{case.median / case.frames:.4f}",
                    "-" if ratio is None else f"{ratio:.2f}",
                    "-" if speed is None else f"{speed / 1e9:.0f}",
                    "-" if speed is None else f"{100 * speed / self.peak:.0f}",
                    "-" if case.memory is None else f"{case.memory / 2**20:.0f}",
                ]
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "peak_operations_per_second": self.peak,
            "threads": self.threads,
            "device": self.device,
            "cases": [{**asdict(case), "median": case.median, "ratio": self.ratio(case)} for case in self.cases],
        }


def run_bench(
    weights: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    frames: Sequence[int],
    *,
    engines: Sequence[str] = ENGINES,
    scales: Sequence[int | None] = (None,),
    rounds: int = 5,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Measure every combination.

    Args:
        weights: names or files; "paper" is the paper's network with random weights.
        sizes: (width, height) of the input, multiples of the network's ``multiple``.
        frames: numbers of output frames per pair.
        scales: indices of forced scales; None for the selector's choice.
        rounds: how often each case is measured.
        on_progress: called with measurements done and all of them.

    Raises:
        SafaError: unknown weights, or an engine or device that is not available here.
    """
    place = pick_device(device)
    cases: list[tuple[Case, Engine, Work, Callable[[], None]]] = []
    for name in weights:
        checkpoint = network_called(name)
        for engine_name in engines:
            engine = engine_called(engine_name, checkpoint, place)
            for size in sizes:
                for count in frames:
                    work = stream_work(engine, size, count)
                    for scale in scales:
                        label = "selected" if scale is None else f"{checkpoint.config.scales[scale]:g}"
                        operations = _operations(checkpoint, place, size, count, scale)
                        case = Case(name, engine_name, *size, label, count, operations)
                        cases.append((case, engine, work, partial(work.run, scale)))
    for case, engine, _, run in cases:  # this also fills buffers and caches
        run()
        engine.release()  # what is kept only grows: a smaller case would seem to need nothing
        case.memory = peak_bytes(run, place)
    done = 0
    for _ in range(rounds):
        for case, _, work, run in cases:
            began = time.perf_counter()
            run()
            synchronize(place)
            case.seconds.append((time.perf_counter() - began) / work.pairs)
            done += 1
            if on_progress is not None:
                on_progress(done, rounds * len(cases))
    return Bench([case for case, *_ in cases], _peak(place), processor_threads(), place)


def _operations(
    checkpoint: Checkpoint, device: str, size: tuple[int, int], count: int, scale: int | None
) -> int | None:
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ModuleNotFoundError:
        return None
    work = stream_work(pick_engine("torch", checkpoint, device), size, count)
    with FlopCounterMode(display=False) as counter:
        work.run(scale)
    return int(counter.get_total_flops()) // work.pairs


def _peak(device: str) -> float:
    multiply: Callable[[], object]
    if device == CPU:
        array = np.random.default_rng(0).random((2048, 2048), np.float32)
        multiply = partial(np.matmul, array, array)
    else:
        import torch

        matrix = torch.rand(2048, 2048, device=device)
        multiply = partial(torch.mm, matrix, matrix)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        multiply()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


# Time of an engine, stage by stage of the network.

# The network's own names for its parts, and what people read.
PARTS = {
    "extractor": "extractor",
    "propagation": "propagation",
    "first_hidden": "first hidden",
    "selector": "selector",
    "blocks": "blocks",
    "flow_head": "flow head",
    "decoder": "decoder",
}
OTHER = "other"


@dataclass(frozen=True)
class Profile:
    """Seconds of each stage for one pair with its output frames, the mean over all rounds."""

    weights: str
    engine: str
    width: int
    height: int
    frames: int
    seconds: dict[str, float]
    """The native engine names every stage (warps are part of what reads them); PyTorch's "other" is warps, enlarging,
    concatenation and image fusion."""

    def rows(self) -> list[list[str]]:
        """Return the table's rows: the heading, then the stages, the longest first."""
        total = sum(self.seconds.values())
        rows = [["stage", "s/frame", "share"]]
        for stage, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            rows.append([stage, f"{seconds / self.frames:.4f}", f"{100 * seconds / total:.0f} %"])
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def run_profile(
    weights: str, engine_name: str, size: tuple[int, int], *, frames: int = 2, rounds: int = 5, device: str = "cpu"
) -> Profile:
    """Profile one engine on pairs of ``frames`` output frames, at the scales that the selector chooses.

    Raises:
        SafaError: unknown weights, or an engine or device that is not available here.
    """
    place = pick_device(device)
    network = network_called(weights)
    engine = engine_called(engine_name, network, place)
    work = stream_work(engine, size, frames)
    work.run(None)  # buffers, caches and lazy initialisation
    with _stages(engine) as taken:
        for _ in range(rounds):
            work.run(None)
            synchronize(place)
        seconds = {stage: spent / rounds / work.pairs for stage, spent in taken().items() if spent > 0}
    return Profile(weights, engine.name, *size, frames, seconds)


@contextmanager
def _stages(engine: Engine) -> Iterator[Callable[[], dict[str, float]]]:
    """Yield a function that returns the seconds of each stage since the context was entered."""
    if isinstance(engine, NativeEngine):
        engine.take_seconds()
        yield engine.take_seconds
        return
    from safa.engine.torch import TorchEngine

    assert isinstance(engine, TorchEngine)
    clock = _ModuleClock(engine.device)
    hooks = [
        hook
        for name, part in engine.network.named_children()
        if name in PARTS
        for hook in clock.watch(PARTS[name], part)
    ]
    began = time.perf_counter()
    try:
        yield lambda: {**clock.seconds, OTHER: time.perf_counter() - began - sum(clock.seconds.values())}
    finally:
        for hook in hooks:
            hook.remove()


class _ModuleClock:
    """Times modules from the outside; a GPU is waited for at each end, which makes the sum longer than a frame."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._began = 0.0

    def watch(self, stage: str, module: nn.Module) -> list[Any]:
        """Hooks that time ``module``: the parts of a list are called one by one, and blocks through their branches."""

        def before(*_: object) -> None:
            synchronize(self.device)
            self._began = time.perf_counter()

        def after(*_: object) -> None:
            synchronize(self.device)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - self._began

        from torch import nn

        parts = [module]
        if isinstance(module, nn.ModuleList):
            parts = [branch for block in module for branch in block.branches]  # type: ignore[union-attr]
        return [
            hook
            for part in parts
            for hook in (part.register_forward_pre_hook(before), part.register_forward_hook(after))
        ]


# Time of a stream relative to separate calls for each pair.


@dataclass
class StreamBench:
    """Seconds for a whole clip, each round."""

    weights: str
    engine: str
    width: int
    height: int
    """Sides of the low-resolution input in pixels."""
    frames: int
    """Number of input frames."""
    rate: int
    stream: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    """One ``Upscaler.between`` for each pair, with both its ends."""

    @property
    def share(self) -> float:
        """Return the ratio of the stream's median time to that of the pairs."""
        return statistics.median(self.stream) / statistics.median(self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "share": self.share}

    def sentence(self) -> str:
        """Return the result as a sentence for people."""
        stream, pairs = statistics.median(self.stream), statistics.median(self.pairs)
        return (
            f"{self.weights}, {self.engine}, {self.frames} frames of {self.width}x{self.height} at rate {self.rate}: "
            f"stream {stream:.2f} s, pair by pair {pairs:.2f} s, share {self.share:.2f}"
        )


def run_stream_bench(
    weights: str,
    size: tuple[int, int],
    *,
    frames: int = 30,
    rate: int = 2,
    engine: str = "auto",
    rounds: int = 3,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> StreamBench:
    """Measure ``Upscaler.stream`` against ``Upscaler.between`` for every pair, in turns.

    Args:
        weights: shipped ones, a file, or "paper".
        size: (width, height) of the input.
        frames: of the input, at least 2.
        on_progress: called with measurements done and all of them.
    """
    called, _, precision = engine.partition(":")
    upscaler = Upscaler(network_called(weights), device, precision or "auto", called)
    clip = _moving_noise(frames, *size)
    times = [step / rate for step in range(rate + 1)]

    def stream() -> None:
        for _ in upscaler.stream(clip, rate):
            pass

    def pairs() -> None:
        for first, second in pairwise(clip):
            upscaler.between(first, second, times)

    upscaler.between(clip[0], clip[1], times)  # buffers, caches and lazy initialisation
    result = StreamBench(weights, upscaler.engine.name, *size, frames, rate)
    for done in range(2 * rounds):
        call, seconds = ((stream, result.stream), (pairs, result.pairs))[done % 2]
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        if on_progress is not None:
            on_progress(done + 1, 2 * rounds)
    return result


def _moving_noise(frames: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    """``height,width,3`` each: coarse noise that moves two pixels to the left from frame to frame."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, ((height + 7) // 8, (width + 2 * frames + 7) // 8, 3), dtype=np.uint8)
    wide = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(wide[:height, 2 * k : 2 * k + width]) for k in range(frames)]
