"""HDR10 mastering metadata: read from decoded frames, written as the encoders want it."""

from dataclasses import dataclass
from fractions import Fraction

import av

from safa.video.read.side_data import side_data


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

    @property
    def is_partial(self) -> bool:
        """Whether only half is said of the display or the light (0 is unknown), which most containers do not take."""
        half_lit = self.light is not None and any(self.light) and not all(self.light)
        return (self.primaries is None) != (self.luminance is None) or half_lit

    @staticmethod
    def of(frame: av.VideoFrame) -> "Mastering":
        """What a frame carries, from FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
        primaries = luminance = light = None
        for name, data in side_data(frame):
            if name == "MASTERING_DISPLAY_METADATA" and len(data) >= 88:
                words = memoryview(data[:88]).cast("i")
                values = [Fraction(words[i], words[i + 1] or 1) for i in range(0, 20, 2)]
                if words[20]:
                    primaries = tuple(zip(values[0:8:2], values[1:8:2], strict=True))
                if words[21]:
                    luminance = (values[8], values[9])
            elif name == "CONTENT_LIGHT_LEVEL" and len(data) >= 8:
                words = memoryview(data[:8]).cast("I")
                light = (words[0], words[1])
        return Mastering(primaries, luminance, light)

    def x264(self) -> list[str]:
        """Parameters for x264: the numbers of `x265` under other names."""
        names = {"master-display": "mastering-display", "max-cll": "cll"}
        parts = [parameter.partition("=") for parameter in self.x265()]
        return [f"{names[name]}={value}" for name, _, value in parts]

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
