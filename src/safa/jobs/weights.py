"""Automatic choice of weights for a source, and networks that are loaded for one source after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safa.checkpoint import DEFAULT, SHARPENED, with_detail
from safa.errors import SafaError
from safa.jobs.job import PIPE
from safa.upscaler.upscaler import Upscaler, load
from safa.video.look import Look, look_at

AUTO = "auto"
"""Instead of a name of weights: they are chosen for each source."""

COARSE = {"h264": 25.0, "mpeg2video": 4.0, "mpeg1video": 4.0, "mpeg4": 4.0, "vp9": 70.0}
"""Mean quantiser of a decoder's frames from which on compression is visible."""

FEW_BITS = 0.2
"""The same for other codecs: bits per pixel below which it is visible."""

COMPRESSED = "real"
"""The weights for footage that compression has damaged."""

DETAIL = 0.3
"""Detail of chosen weights if nothing else is said: more raises dots in grass that a mild codec has touched
(docs/log.md)."""


@dataclass(frozen=True)
class Pick:
    """The weights chosen for a source, and why in a few words."""

    name: str
    reason: str


def pick_weights(source: Path) -> Pick:
    """Shipped weights for a source, from a look at some of its frames; the same file always gets the same."""
    if source == PIPE:
        return Pick(DEFAULT, "a pipe cannot be examined first")
    if source.is_dir():
        return Pick(DEFAULT, "pictures are assumed to be clean")
    try:
        look = look_at(source)
    except SafaError:
        return Pick(DEFAULT, "the source could not be examined")
    facts = f"{look.codec} at {look.bits_per_pixel:.2g} bits per pixel"
    if look.quantiser is not None:
        facts = f"{look.codec} with a mean quantiser of {look.quantiser:.0f}"
    name = weights_for(look)
    return Pick(name, f"its compression {'can' if name == COMPRESSED else 'can hardly'} be seen ({facts})")


def weights_for(look: Look) -> str:
    """``COMPRESSED`` where that does better, else the default ones.

    The limits are where it began to do better, on five clips in seven qualities of H.264 and MPEG-2 and two of HEVC
    (see docs/log.md); bits per pixel are used for codecs whose quantiser is not known.
    """
    limit = COARSE.get(look.codec)
    if look.quantiser is not None and limit is not None:
        return COMPRESSED if look.quantiser >= limit else DEFAULT
    return COMPRESSED if look.bits_per_pixel < FEW_BITS else DEFAULT


def usual_name(look: Look) -> str:
    """The weights that a job takes by itself, with their detail as in ``fast@0.3``."""
    return with_detail(weights_for(look), DETAIL)


class Networks:
    """The network of each source, one in memory at a time.

    Args:
        weights: a name or file for all sources, or ``AUTO``.
        detail: 0 to 1, see ``safa.checkpoint.SHARPENED``; None is ``DETAIL`` with ``AUTO``, and leaves other weights
            as they are.
        device, engine, precision, memory: see ``Upscaler``.
        on_pick: called with every choice.

    Raises:
        SafaError: ``detail`` is out of reach or not for these weights.
    """

    def __init__(
        self,
        weights: str | Path = AUTO,
        detail: float | None = None,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
        on_pick: Callable[[Pick], None] | None = None,
    ) -> None:
        self._weights = str(weights)
        self._detail = DETAIL if detail is None and self._weights == AUTO else detail
        self._load = partial(load, device=device, engine=engine, precision=precision, memory=memory)
        self._on_pick = on_pick
        self._picked: dict[Path, str] = {}
        self._loaded: tuple[str, Upscaler] | None = None
        if self._weights != AUTO:
            self._named(self._weights)
        else:
            for name in SHARPENED:
                self._named(name)

    def name_for(self, source: Path) -> str:
        """The weights for a source; looks at it once."""
        if self._weights != AUTO:
            return self._named(self._weights)
        if source not in self._picked:
            pick = pick_weights(source)
            self._picked[source] = self._named(pick.name)
            if self._on_pick is not None:
                self._on_pick(Pick(self._picked[source], pick.reason))
        return self._picked[source]

    def for_source(self, source: Path) -> Upscaler:
        """The loaded network for a source."""
        name = self.name_for(source)
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # before the next is loaded
            self._loaded = name, self._load(name)
        return self._loaded[1]

    def _named(self, weights: str) -> str:
        return weights if self._detail is None else with_detail(weights, self._detail)
