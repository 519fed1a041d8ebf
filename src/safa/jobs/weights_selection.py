"""The choice of weights for a source, and the loading of networks for one source after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safa.checkpoint import DEFAULT, SHARPENED, shipped_names, with_detail
from safa.errors import SafaError
from safa.jobs.plan import PIPE
from safa.options import DETAIL, ComputeOptions, WeightsSpec
from safa.upscaler.upscaler import Upscaler, load
from safa.video.probe import Look, look_at

VISIBLE_QUANTISER = {"h264": 25.0, "mpeg2video": 4.0, "mpeg1video": 4.0, "mpeg4": 4.0, "vp9": 70.0}
"""Mean quantiser of a codec's frames from which on compression is visible."""

VISIBLE_BITS = 0.2
"""Bits per pixel below which compression is visible, for codecs whose quantiser is unknown."""

COMPRESSED = "real"
"""Weights for footage with visible compression."""


@dataclass(frozen=True)
class WeightsChoice:
    """The weights that were chosen for a source, and the reason in a few words."""

    name: str
    reason: str


def choose_weights(source: Path) -> WeightsChoice:
    """Choose shipped weights from a sample of the source's frames; the same file always gets the same."""
    if source == PIPE:
        return WeightsChoice(DEFAULT, "a pipe cannot be examined in advance")
    if source.is_dir():
        return WeightsChoice(DEFAULT, "pictures are assumed to be clean")
    try:
        look = look_at(source)
    except SafaError:
        return WeightsChoice(DEFAULT, "the source could not be examined")
    facts = f"{look.codec} at {look.bits_per_pixel:.2g} bits per pixel"
    if look.quantiser is not None:
        facts = f"{look.codec} with a mean quantiser of {look.quantiser:.0f}"
    name = weights_for(look)
    visible = "is visible" if name == COMPRESSED else "is hardly visible"
    return WeightsChoice(name, f"its compression {visible} ({facts})")


def weights_for(look: Look) -> str:
    """Return ``COMPRESSED`` for footage on which these weights are better, else the default weights.

    The limits are where they begin to be better on five clips in seven qualities of H.264 and MPEG-2 and two of HEVC
    (docs/log.md).
    """
    limit = VISIBLE_QUANTISER.get(look.codec)
    if look.quantiser is not None and limit is not None:
        return COMPRESSED if look.quantiser >= limit else DEFAULT
    return COMPRESSED if look.bits_per_pixel < VISIBLE_BITS else DEFAULT


def automatic_weights(look: Look) -> str:
    """Return the name of the weights that "auto" chooses, with their detail, such as "fast@0.3"."""
    return with_detail(weights_for(look), DETAIL)


def compared_weights() -> list[str]:
    """Return all shipped weights in order of growing detail, with the detail of "auto" between the ends."""
    names = shipped_names()
    steps = [with_detail(name, DETAIL) for name, sharper in SHARPENED.items() if sharper in names]
    order = [*SHARPENED, *steps]
    return [name for name in order if name in names or name in steps] + [name for name in names if name not in order]


def load_upscaler(name: str | Path, compute: ComputeOptions) -> Upscaler:
    """Load weights by their name or file, to run as ``compute`` says."""
    return load(name, compute.device, compute.precision, compute.engine, compute.threads, compute.memory)


class Networks:
    """The networks for several sources, of which one is in memory at a time.

    Args:
        weights: for all sources, or "auto".
        compute: where and how they run.
        on_choice: called with every automatic choice.
    """

    def __init__(
        self,
        weights: WeightsSpec | None = None,
        compute: ComputeOptions | None = None,
        on_choice: Callable[[WeightsChoice], None] | None = None,
    ) -> None:
        self._weights = weights or WeightsSpec()
        self._compute = compute or ComputeOptions()
        self._on_choice = on_choice
        self._chosen: dict[Path, str] = {}
        self._loaded: tuple[str, Upscaler] | None = None

    @property
    def ceiling(self) -> int | None:
        """Bytes that the whole process may use; None without a limit."""
        return self._compute.memory

    def name_for(self, source: Path) -> str:
        """Return the name of the weights for a source, which is examined once."""
        if not self._weights.is_automatic:
            return self._weights.load_name(self._weights.name)
        if source not in self._chosen:
            choice = choose_weights(source)
            self._chosen[source] = self._weights.load_name(choice.name)
            if self._on_choice is not None:
                self._on_choice(WeightsChoice(self._chosen[source], choice.reason))
        return self._chosen[source]

    def for_source(self, source: Path) -> Upscaler:
        """Return the loaded network for a source."""
        name = self.name_for(source)
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # free it before the next one is loaded
            self._loaded = name, load_upscaler(name, self._compute)
        return self._loaded[1]


class LoadedNetwork(Networks):
    """A network that is loaded already, for all sources."""

    def __init__(self, upscaler: Upscaler) -> None:
        super().__init__()
        self._upscaler = upscaler

    @property
    def ceiling(self) -> int | None:
        """Bytes that the whole process may use; None without a limit."""
        return self._upscaler.budget.ceiling

    def name_for(self, source: Path) -> str:
        """Return the name of the weights."""
        return self._upscaler.checkpoint.name

    def for_source(self, source: Path) -> Upscaler:
        """Return the network."""
        return self._upscaler
