"""Feed damaged copies of small real files to the upscaler: each must end in success or in one clear error.

    python scripts/fuzz_inputs.py --weights FILE --count 500 [CLIP ...]

Every copy is handled by a process of its own with a time limit, so that crashes and hangs are seen. Exit code 1 if
one crashes, hangs, raises anything but SafaError, or leaves a file that claims to be complete after an error.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import random
import sys
import tempfile
import traceback
from fractions import Fraction
from pathlib import Path

import av

from safa.errors import SafaError
from safa.jobs.upscale import upscale
from safa.upscaler.upscaler import Upscaler, load
from safa.video.journal import work_folder

LIMIT = 60  # seconds for one file


def remuxed(source: Path, folder: Path) -> list[Path]:
    """The clip as it is and in other containers and codecs."""
    paths = [source]
    for name, codec in (
        ("h264.mkv", "libx264"),
        ("vp9.webm", "libvpx-vp9"),
        ("mpeg2.mpg", "mpeg2video"),
        ("hevc.mov", "libx265"),
    ):
        path = folder / name
        with av.open(str(source)) as reading, av.open(str(path), "w") as writing:
            options = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
            stream = writing.add_stream(codec, rate=25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number, frame in enumerate(reading.decode(video=0)):
                if number == 12:
                    break
                small = frame.reformat(64, 48, "yuv420p")
                small.pts, small.time_base = number, Fraction(1, 25)
                writing.mux(stream.encode(small))
            writing.mux(stream.encode(None))
        paths.append(path)
    return paths


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, overwrite a run, or cut the file off."""
    damaged = bytearray(data)
    kind = rng.choice(("bits", "bits", "run", "cut"))
    if kind == "cut":
        return bytes(damaged[: rng.randrange(1, len(damaged))])
    if kind == "run":
        start, length = rng.randrange(len(damaged)), rng.randrange(1, 400)
        damaged[start : start + length] = rng.randbytes(len(damaged[start : start + length]))
        return bytes(damaged)
    for _ in range(rng.choice((1, 4, 32, 256))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def attempt(source: Path, output: Path, upscaler: Upscaler, answer: multiprocessing.connection.Connection) -> None:
    """Runs in the child: tells how it ended."""
    try:
        report = upscale(source, output, rate=1, upscaler=upscaler)
        answer.send("success" if report.verification.ok else f"check failed: {report.verification.failures()}")
    except SafaError as error:
        answer.send(f"refused: {error}")
    except BaseException:
        answer.send(f"RAISED {traceback.format_exc()}")


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="*", default=[Path("samples/hens.mp4")])
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    upscaler = load(arguments.weights, "cpu")
    context = multiprocessing.get_context("fork")
    ends: collections.Counter[str] = collections.Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [path for clip in arguments.clips for path in remuxed(clip, folder)]
        for number in range(arguments.count):
            original = sources[number % len(sources)]
            damaged = folder / f"damaged{number}{original.suffix}"
            damaged.write_bytes(mutate(original.read_bytes(), rng))
            output = folder / f"out{number}.mp4"
            receiving, sending = context.Pipe(duplex=False)
            child = context.Process(target=attempt, args=(damaged, output, upscaler, sending))
            child.start()
            sending.close()
            child.join(LIMIT)
            if child.is_alive():
                child.kill()
                child.join()
                end = "HUNG"
            else:
                end = receiving.recv() if receiving.poll() else f"CRASHED with exit code {child.exitcode}"
            if not end.startswith("success") and output.exists():
                end = f"LEFT A FILE after {end}"
            kind = end.split(":")[0]
            ends[kind] += 1
            if kind not in ("success", "refused", "check failed"):
                wrong.append(f"file {number} ({original.name}): {end}")
            for left in (damaged, output, output.with_name(f"{output.stem}.failed-check.mp4")):
                left.unlink(missing_ok=True)
            for left in work_folder(output).glob("*"):
                left.unlink()
    print(dict(ends))
    print("\n".join(wrong[:20]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
