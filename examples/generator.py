"""SAFA inside a pipeline of one's own: frames from any source in, four times larger and smoother frames out, lazily.

python examples/generator.py in.mp4 out.mp4

Source and sink are PyAV here; anything that yields and takes ``H,W,3`` RGB arrays will do. For whole files, with sound,
exact times and cuts, `safa.upscale` is the better call.
"""

import sys
from collections.abc import Iterable, Iterator

import av
import numpy as np

import safa

RATE = 2


def frames_of(container: av.container.InputContainer) -> Iterator[np.ndarray]:
    """Decoded frames, ``H,W,3`` RGB uint8."""
    for frame in container.decode(video=0):
        yield frame.to_ndarray(format="rgb24")


def write(container: av.container.OutputContainer, frames: Iterable[np.ndarray], rate: object) -> None:
    """Encode frames as H.264 at a constant frame rate."""
    stream = None
    for picture in frames:
        if stream is None:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "16"})
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    if stream is not None:
        container.mux(stream.encode(None))


if __name__ == "__main__":
    upscaler = safa.load()
    with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w") as target:
        smoother = upscaler.stream(frames_of(source), rate=RATE)
        write(target, smoother, source.streams.video[0].average_rate * RATE)
