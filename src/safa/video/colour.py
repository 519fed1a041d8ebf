"""Side data of frames, HDR10 mastering metadata, and colour tags with the conversions between pixels and RGB arrays."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

# Side data that is lost when a new frame is made, by FFmpeg's names. Not listed is what is carried over (display
# matrix, mastering display, light levels) and what has no meaning for the output: encoders' notes, statistics, hints to
# decoders, film grain that is in the decoded pixels already.
LOST = {
    "DYNAMIC_HDR_PLUS": "HDR10+ dynamic metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid dynamic metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment",
    "A53_CC": "closed captions inside the pictures",
    "S12M_TIMECODE": "timecode",
    "GOP_TIMECODE": "timecode",
    "STEREO3D": "the layout of a stereoscopic picture",
    "SPHERICAL": "the projection of a spherical picture",
    "VIEW_ID": "the number of the view",
    "3D_REFERENCE_DISPLAYS": "the displays that a stereoscopic picture is made for",
    "LCEVC": "the LCEVC enhancement layer",
    "ICC_PROFILE": "the ICC colour profile",
    "PANSCAN": "pan and scan positions",
    "AFD": "the active format description",
    "DETECTION_BBOXES": "marked objects",
    "EXIF": "Exif data",
}
# Kinds of FFmpeg's that PyAV does not name.
NEWER = {28: "LCEVC", 29: "VIEW_ID", 30: "3D_REFERENCE_DISPLAYS", 31: "EXIF"}
# Bits of a GOP timecode that are no time: the marker and the way of counting.
NO_TIME = 1 << 12 | 1 << 24
# Exif's own and GPS: how and where a photograph was taken. The orientation, which is carried, is in neither.
EXIF_DIRECTORIES = {0x8769, 0x8825}


def _newer(cls: type[Type], value: object) -> Type:
    member: Any = object.__new__(cls)
    member._name_ = NEWER.get(value, f"KIND_{value}") if isinstance(value, int) else str(value)
    member._value_ = value
    return member


# Without it one kind that PyAV does not know, such as the Exif data of a photograph, makes all of a frame's side data
# unreadable: a ValueError.
Type._missing_ = classmethod(_newer)  # type: ignore[assignment, method-assign]


def side_data(frame: av.VideoFrame) -> list[tuple[str, bytes]]:
    """(FFmpeg's name of the kind, content) of everything that a frame carries."""
    entries: Any = frame.side_data  # iterating yields the entries themselves, not keys
    return [(entry.type.name, bytes(entry)) for entry in entries]


def lost_kinds(frame: av.VideoFrame) -> tuple[str, ...]:
    """Name the side data of a frame that no output can hold."""
    entries = side_data(frame)
    words = [LOST[name] for name, data in entries if name in LOST and not _is_empty(name, data)]
    return tuple(dict.fromkeys(words))


def begins_timecode(frame: av.VideoFrame) -> bool:
    """Return whether groups of pictures count time from 0, as in all MPEG-2 that nobody gave a timecode."""
    return any(name == "GOP_TIMECODE" and _is_empty(name, data) for name, data in side_data(frame))


def _is_empty(name: str, data: bytes) -> bool:
    """Every MPEG-2 stream has a timecode and a window to pan and scan with, and most set neither; every TIFF file has
    tags, mostly about its pixels.
    """
    if name == "PANSCAN":
        return not any(data[12:24])  # the three positions behind number, width and height
    if name == "GOP_TIMECODE":
        return not int.from_bytes(data[:4], "little") & ~NO_TIME
    return name == "EXIF" and not EXIF_DIRECTORIES & _tags(data)


def _tags(exif: bytes) -> set[int]:
    """Return the tags in the first directory of Exif data."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    at = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[at : at + 2], order)
    return {int.from_bytes(exif[place : place + 2], order) for place in range(at + 2, at + 2 + 12 * count, 12)}


# HDR10 mastering metadata: read from decoded frames, written as the encoders want it.


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
        """Return whether the mastering display is described in full."""
        return self.primaries is not None and self.luminance is not None

    @property
    def is_partial(self) -> bool:
        """Return whether the display or the light is only half described (0 is unknown), which most containers do not
        take.
        """
        half_lit = self.light is not None and any(self.light) and not all(self.light)
        return (self.primaries is None) != (self.luminance is None) or half_lit

    @staticmethod
    def of(frame: av.VideoFrame) -> Mastering:
        """Read mastering data from FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata."""
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


# Colour tags, and the two conversions between a stream's pixels and the RGB arrays the network works on.

# Code points of ITU-T H.273, which FFmpeg uses as they are.
UNSPECIFIED = 2
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9
MATRIX_RGB, YCGCO = 0, 8
LIMITED, FULL = 1, 2

# Matrix code point -> swscale's coefficient table. The constant-luminance and ICtCp variants have none of
# their own; the nearest is used both ways, so that they come out as they went in.
SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9, 14: 9}

# Rounded exactly, chroma at full resolution on both sides. The defaults are faster and up to 3 code values
# off.
ACCURATE = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


# Between YUV and 16-bit RGB swscale counts white as 255 * 256, not 65535; full-range input is merely shifted up.
WHITE_16 = 255 << 8

# Codecs whose decoders do not report the siting of chroma samples.
UNTAGGED = {"vp8", "vp9", "av1", "ffv1"}


@dataclass(frozen=True)
class Colour:
    """Colour tags as H.273 code points (2 = not tagged); `range` is 0 untagged, 1 limited, 2 full."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    def resolved(self, height: int, rgb: bool = False) -> Colour:
        """Return the tags with every gap filled the way players fill it: BT.601 below 720 lines, BT.709 from
        there.

        An enlarged video must be tagged with what its *source* meant, or a player would guess from the new
        size. For an RGB source (`rgb`), and for YCgCo, which swscale cannot write, the answer is what to encode it
        as: BT.709, limited.
        """
        if rgb or self.matrix == YCGCO:
            primaries, transfer = self.primaries, self.transfer
            return Colour(
                BT709 if primaries == UNSPECIFIED else primaries,
                BT709 if transfer == UNSPECIFIED else transfer,
                BT2020 if primaries == BT2020 else BT709,
                LIMITED,
            )
        if height >= 720:
            guess = (BT709, BT709, BT709)
        elif height in (288, 576):
            guess = (BT470BG, SMPTE170M, BT470BG)
        else:
            guess = (SMPTE170M, SMPTE170M, SMPTE170M)
        matrix = self.matrix if self.matrix in SWSCALE_MATRIX else guess[2]
        # A tagged matrix says more about the missing tags than the size does.
        if matrix in (BT709, BT2020):
            guess = (matrix, BT709, matrix)
        elif matrix in (BT470BG, SMPTE170M):
            guess = (matrix, SMPTE170M, matrix)
        return Colour(
            guess[0] if self.primaries in (0, UNSPECIFIED) else self.primaries,
            guess[1] if self.transfer in (0, UNSPECIFIED) else self.transfer,
            matrix,
            self.range or LIMITED,
        )

    @staticmethod
    def of(source: Any, pixel_format: str) -> Colour:
        """Return the tags of an av video frame. The yuvj formats are full range whatever is tagged."""
        colour_range = FULL if pixel_format.startswith("yuvj") else int(source.color_range)
        return Colour(int(source.color_primaries), int(source.color_trc), int(source.colorspace), colour_range)


def _scale(white: int, black: int = 0, top: int = 65535) -> np.ndarray:
    """Table that takes values from 0 to `top` with the given black and white to values with these at 0 and `top`."""
    values = (np.arange(top + 1) - black) * (top / (white - black))
    table: np.ndarray = np.rint(values.clip(0, top)).astype(np.uint16 if top > 255 else np.uint8)
    return table


def is_grayscale(pixel: Any) -> bool:
    """Return whether a pixel format (av's) holds one value of brightness a pixel."""
    colours = sum(not component.is_alpha for component in pixel.components)
    return colours == 1 and not pixel.is_rgb and not pixel.has_palette


class _AtLeft:
    """Tags frames: samples of subsampled colours lie at the left of the two columns that they belong to.

    All video codecs have them there unless they say otherwise, and FFmpeg's decoders of most of them say so. Where a
    frame is not tagged swscale takes colours for centred, as they are in JPEG, and shifts them by half a pixel.
    """

    def __init__(self) -> None:
        # The graph, which its ends do not keep alive, and where frames go in and come out.
        self._graph: tuple[Any, Any, Any] | None = None
        self._kind: tuple[int, int, str] | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame; the result is tagged and has no time."""
        kind = frame.width, frame.height, frame.format.name
        if self._graph is None or kind != self._kind:
            graph, self._kind = av.filter.Graph(), kind
            source = graph.add_buffer(width=kind[0], height=kind[1], format=frame.format, time_base=Fraction(1))
            tag, sink = graph.add("setparams", "chroma_location=left"), graph.add("buffersink")
            source.link_to(tag)
            tag.link_to(sink)
            graph.configure()
            self._graph = graph, source, sink
        frame.pts, frame.time_base = 0, Fraction(1)
        self._graph[1].push(frame)
        tagged: Any = self._graph[2].pull()
        tagged.pts = None
        return tagged


class ToRgb:
    """Converts one stream's frames to RGB arrays of one kind, whatever the frames' own kinds.

    Range and matrix are those that each frame is tagged with: streams change them, and cameras switch between gray and
    colour. Holds no more than swscale's own state.
    """

    def __init__(self, colour: Colour, *, bit_depth: int, alpha: bool, codec: str = "", gray_range: int = 0) -> None:
        """More than 8 bits give uint16; `alpha` gives a fourth channel.

        Args:
            colour: what frames mean that are not tagged; it must be resolved.
            codec: the one that the frames come from.
            gray_range: the range of gray frames that are not tagged; that of `colour` if 0.
        """
        self._tag = _AtLeft() if codec in UNTAGGED else None
        self._colour, self._gray_range = colour, gray_range
        self._deep, self._alpha = bit_depth > 8, alpha
        self._reformatter = VideoReformatter()
        self._kind: tuple[str, int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """H,W,3 or H,W,4 array of its own memory."""
        kind = frame.format.name, int(frame.color_range), int(frame.colorspace)
        if kind != self._kind:
            self._kind = kind
            self._prepare(frame)
        if self._tag is not None:
            frame = self._tag(frame)
        image = self._from_ycgco(frame) if self._is_ycgco else self._converted(frame)
        if self._deep and image.dtype == np.uint8:
            return image.astype(np.uint16) * 257
        return image

    def _prepare(self, frame: av.VideoFrame) -> None:
        """Set how frames of this kind are converted."""
        pixel = frame.format
        own = Colour.of(frame, pixel.name)
        is_gray, is_rgb = is_grayscale(pixel), pixel.is_rgb or pixel.has_palette
        self._bits = 8 if pixel.has_palette else min(16, max(component.bits for component in pixel.components))
        self._range = own.range or (self._gray_range if is_gray else 0) or self._colour.range
        if is_rgb or self._bits == 1:
            self._range = FULL
        self._is_ycgco = own.matrix == YCGCO and not is_rgb and not is_gray
        matrix = own.matrix if own.matrix in SWSCALE_MATRIX else self._colour.matrix
        self._matrix = None if is_rgb or is_gray else SWSCALE_MATRIX[matrix]
        deep = self._deep and self._bits > 8
        names = {(0, 0): "rgb24", (0, 1): "rgba", (1, 0): "rgb48le", (1, 1): "rgba64le"}
        self._format = names[deep, self._alpha]
        self._swscale_range = ColorRange.JPEG if is_gray else ColorRange(self._range)
        self._table = None
        if is_gray and self._range == LIMITED:
            # Swscale takes all gray for full range: its values come out as they are, and are stretched here.
            self._table = _scale(235 << 8, 16 << 8) if deep else _scale(235, 16, 255)
        elif deep:
            white = WHITE_16 if self._range == LIMITED else (2**self._bits - 1) << (16 - self._bits)
            self._table = _scale(white) if white != 65535 else None

    def _converted(self, frame: av.VideoFrame) -> np.ndarray:
        converted = self._reformatter.reformat(
            frame,
            format=self._format,
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=self._swscale_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=ACCURATE,
        )
        image = np.ascontiguousarray(converted.to_ndarray())
        if self._table is None:
            return image
        if image.dtype == np.uint8:  # limited gray, whose transparency is full range
            return np.concatenate([self._table[image[..., :3]], image[..., 3:]], -1)
        return self._table[image]

    def _from_ycgco(self, frame: av.VideoFrame) -> np.ndarray:
        """ITU-T H.273, matrix 8, computed here: swscale does not support it."""
        deep = self._bits > 8
        name = "yuv444p16le" if deep else "yuv444p"
        kept = {"src_colorspace": 1, "dst_colorspace": 1}
        kept |= {"src_color_range": ColorRange.JPEG, "dst_color_range": ColorRange.JPEG}
        planes = self._reformatter.reformat(frame, format=name, interpolation=ACCURATE, **kept).planes
        kind = np.dtype("<u2" if deep else np.uint8)
        rows = [np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width] for plane in planes]
        unit = (1 << 16 - self._bits if deep else 1) * 2.0 ** (self._bits - 8)  # of one step of 8 bits
        luma, green, orange = (row.astype(np.float32) / unit for row in rows)
        green, orange = green - 128, orange - 128
        image = np.stack([luma - green + orange, luma + green, luma - green - orange], -1)
        image = (image - 16) / 219 if self._range == LIMITED else image / 255
        top, target = (65535, np.uint16) if self._deep else (255, np.uint8)
        found = np.rint(image.clip(0, 1) * top).astype(target)
        return np.dstack([found, np.full(found.shape[:2], top, target)]) if self._alpha else found


class FromRgb:
    """Converts RGB arrays to frames in an encoder's pixel format."""

    def __init__(self, colour: Colour, pixel_format: str) -> None:
        """`colour` must be resolved: its matrix and range are what the pixels are made for."""
        self._reformatter = VideoReformatter()
        self._tag = _AtLeft()
        self._colour = colour
        self._pixel_format = pixel_format
        self._is_rgb = av.VideoFormat(pixel_format).is_rgb
        self._table = np.rint(np.arange(65536) * (WHITE_16 / 65535)).astype(np.uint16)

    def __call__(self, image: np.ndarray) -> av.VideoFrame:
        """Return a new frame without a time. `image`: H,W,3 or H,W,4, uint8 or uint16."""
        names = {
            ("uint8", 3): "rgb24",
            ("uint8", 4): "rgba",
            ("uint16", 3): "rgb48le",
            ("uint16", 4): "rgba64le",
        }
        name = names.get((image.dtype.name, image.shape[-1] if image.ndim == 3 else 0))
        if name is None:
            raise ValueError(f"an image must be H,W,3 or H,W,4, uint8 or uint16, not {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        if self._is_rgb:
            frame = av.VideoFrame.from_numpy_buffer(image, format=name)
            return self._reformatter.reformat(frame, format=self._pixel_format, interpolation=ACCURATE)
        if image.dtype == np.uint16:
            image = self._table[image]
        frame = self._reformatter.reformat(
            self._tag(av.VideoFrame.from_numpy_buffer(image, format=name)),
            format=self._pixel_format,
            dst_colorspace=SWSCALE_MATRIX[self._colour.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange(self._colour.range),
            interpolation=ACCURATE,
        )
        # Some encoders (ProRes) tag the bitstream from the frame, not from their settings.
        frame.color_primaries, frame.color_trc = self._colour.primaries, self._colour.transfer
        frame.colorspace, frame.color_range = self._colour.matrix, self._colour.range
        return frame
