"""Copied streams whose codec a container takes although it is not in its list.

PyAV asks for that list alone. Matroska also holds every sound that WAV has a number for (WMA, ADPCM, mu-law, AMR ...).
So a stream of a listed codec is added, and its header replaced: a bitstream filter that changes nothing copies one.
"""

import io
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer

LISTED = {"webm": "opus"}
# Sound that has a number in WAV and yet is known to hardly any player there.
UNUSUAL = {"aac_latm"}


def add_template(container: OutputContainer, template: Any) -> Any:
    """Add a stream with the header of `template`. Raises ValueError where the container is known not to take it; of
    sound beyond the list, writing the header shows it.
    """
    try:
        return container.add_stream_from_template(template, opaque=True)
    except ValueError:
        context = template.codec_context
        if template.type != "audio" or context is None or context.codec.canonical_name in UNUSUAL:
            raise
    with av.open(io.BytesIO(), "w", format="nut") as other:
        plain = other.add_stream_from_template(template, opaque=True)  # without the tag of the source's container
        stream = container.add_mux_stream(LISTED.get(container.format.name, "aac"))
        BitStreamFilterContext("null", plain, stream)
    stream.time_base = template.time_base
    return stream
