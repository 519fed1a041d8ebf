"""The quantiser of decoded frames, as the decoder reports it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

# FFmpeg's AVVideoEncParams: the number of blocks, where they begin, the size of each, the kind of scale and the
# quantiser of the whole frame. A block's last number is its difference from that.
HEADER = struct.Struct("=I4xQQii")
MPEG2_SCALE = 2
"""The kind that counts in halves of the usual scale."""

TOLD = {"export_side_data": "venc_params"}
"""Options of a decoder that make it report quantisers."""


def quantiser(frame: av.VideoFrame) -> float | None:
    """Mean over a frame's blocks, on the codec's own scale: H.264 0 to 51, MPEG-2 and MPEG-4 1 to 31, VP9 0 to 255.

    Returns:
        None where the decoder does not report it, or was not opened with ``TOLD``.
    """
    for data in cast(Iterable[SideData], frame.side_data):  # PyAV says it iterates over names, and it does not
        if getattr(data.type, "name", "") != "VIDEO_ENC_PARAMS":
            continue
        raw = bytes(data)
        count, offset, size, kind, base = HEADER.unpack_from(raw)
        change = 0.0
        if count:
            change = float(np.frombuffer(raw, np.int32, count * size // 4, offset).reshape(count, -1)[:, 4].mean())
        return (base + change) / (2 if kind == MPEG2_SCALE else 1)
    return None
