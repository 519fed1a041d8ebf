"""HDR10 mastering metadata: read from decoded frames, written as the encoders want it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av


@dataclass(frozen=True)
class Mastering:
    """The display a film was graded on (SMPTE ST 2086) and its light levels (CTA 861.3).

    `primaries` are the CIE x, y of red, green, blue and white; `luminance` is (min, max) in cd/m2;
    `light` is (MaxCLL, MaxFALL) in cd/m2. What the source does not say is None.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None

    @property
    def has_display(self) -> bool:
        """Whether the mastering display is described in full."""
        return self.primaries is not None and self.luminance is not None

    @staticmethod
    def of(frame: av.VideoFrame) -> "Mastering":
        """What a frame carries, from FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
        primaries = luminance = light = None
        entries: Any = frame.side_data  # iterating yields the entries themselves, not keys
        for entry in entries:
            if entry.type.name == "MASTERING_DISPLAY_METADATA" and len(bytes(entry)) >= 88:
                words = memoryview(bytes(entry)[:88]).cast("i")
                values = [Fraction(words[i], words[i + 1] or 1) for i in range(0, 20, 2)]
                if words[20]:
                    primaries = tuple(zip(values[0:8:2], values[1:8:2], strict=True))
                if words[21]:
                    luminance = (values[8], values[9])
            elif entry.type.name == "CONTENT_LIGHT_LEVEL" and len(bytes(entry)) >= 8:
                words = memoryview(bytes(entry)[:8]).cast("I")
                light = (words[0], words[1])
        return Mastering(primaries, luminance, light)

    def x265(self) -> list[str]:
        """Parameters for x265: chromaticities in 0.00002, luminances in 0.0001 cd/m2."""
        parameters = []
        if self.primaries is not None and self.luminance is not None:
            red, green, blue, white = (f"({round(x * 50_000)},{round(y * 50_000)})" for x, y in self.primaries)
            low, high = (round(value * 10_000) for value in self.luminance)
            parameters.append(f"master-display=G{green}B{blue}R{red}WP{white}L({high},{low})")
        if self.light is not None:
            parameters.append(f"max-cll={self.light[0]},{self.light[1]}")
        return parameters

    def svt_av1(self) -> list[str]:
        """Parameters for SVT-AV1: plain decimals."""
        parameters = []
        if self.primaries is not None and self.luminance is not None:
            red, green, blue, white = (f"({float(x):.5f},{float(y):.5f})" for x, y in self.primaries)
            low, high = (f"{float(value):.4f}" for value in self.luminance)
            parameters.append(f"mastering-display=G{green}B{blue}R{red}WP{white}L({high},{low})")
        if self.light is not None:
            parameters.append(f"content-light={self.light[0]},{self.light[1]}")
        return parameters
