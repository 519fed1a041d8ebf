"""Encoder padding of copied sound, declared to Matroska.

Most sound encoders put some samples before time 0. MP4 says so with an edit list and a negative first
timestamp; Matroska needs it in the track header (CodecDelay), or the muxer moves *everything*, pictures
too, until no time is negative. PyAV cannot set that field (`initial_padding`), but it copies it from a
template stream. So a template is made: the track's header is written to memory with a title as long as the
field, the title is replaced by the field, and the header is read back.
"""

import io
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from safa.video.remux.unlisted import add_template

TITLE = b"PADDING!"
TITLE_ELEMENT = b"\x53\x6e\x88" + TITLE  # EBML: id of Name, length 8, text
DELAY_ELEMENT = b"\x56\xaa\x88"  # EBML: id of CodecDelay, length 8; nanoseconds follow


def padded_template(stream: Any, seconds: Fraction) -> tuple[InputContainer, Any]:
    """A copy of an audio `stream`'s header that declares `seconds` of padding, and the container it lives in."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", container_options={"write_crc32": "0"}) as header:
        copy = add_template(header, stream)
        copy.metadata["title"] = TITLE.decode()
        packet = av.Packet(bytes(16))
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 1000)
        packet.stream = copy
        header.mux(packet)
    nanoseconds = round(seconds * 10**9)
    patched = buffer.getvalue().replace(TITLE_ELEMENT, DELAY_ELEMENT + nanoseconds.to_bytes(8, "big"), 1)
    container = av.open(io.BytesIO(patched), "r", format="matroska")
    return container, container.streams.audio[0]
