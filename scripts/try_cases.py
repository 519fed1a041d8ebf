"""Run inputs that went wrong once through the tool and tabulate what comes out.

python scripts/try_cases.py CASES [NAME ...] [-o table.md]

Each script CASES/NAME.py makes an input (`python NAME.py OUT`; names that begin with "_" are no inputs). Inputs are
upscaled at their own size and rate to MP4 and to Matroska. The table has the exit code, the messages, and of the result
its streams, the time of the first frame, the lengths of picture and sound, and the times of the brightest frame and of
the first click.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

CONTAINERS = "mp4", "mkv"
SUFFIXES = "avi", "mkv", "webm", "flv", "ts", "mxf", "gif", "wmv", "y4m", "webp"
SECONDS = 180
LOUD = 0.25
"""Amplitude, of 1, from which a sample counts as a click."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.stem for path in arguments.cases.glob("[!_]*.py"))
    lines = ["| case | to | exit | result | said |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        for container in CONTAINERS:
            lines.append(f"| {name} | {container} | {' | '.join(attempt(arguments.cases / f'{name}.py', container))} |")
            print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


def attempt(script: Path, container: str) -> tuple[str, str, str]:
    """Return exit code, description of the result, and what was said, of one case."""
    suffix = next((suffix for suffix in SUFFIXES if suffix in script.stem.split("_")), "mp4")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, f"out.{container}")
        for source in (Path(folder, "in"), Path(folder, f"in.{suffix}")):  # some ask the name for the container
            with Path(folder, "errors").open("w+") as errors:  # a pipe would wait for processes that the script leaves
                command = [sys.executable, str(script), str(source)]
                made = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=errors, cwd=script.parent, check=False)
                errors.seek(0)
                complaint = [line.strip() for line in errors if line.strip()][-1:]
            Path(folder, "errors").unlink()
            if not made.returncode:
                break
        sources = sorted(path for path in Path(folder).iterdir() if not path.is_file() or path.stat().st_size)
        if made.returncode or not sources:
            return "-", "the input could not be made", "".join(complaint)[:200]
        source = source if source in sources else sources[0]
        command = [sys.executable, "-m", "safa", "upscale", str(source), "-o", str(output)]
        command += ["--scale", "1", "--rate", "1", "--weights", "fast"]
        command += ["--source-fps", "25"] if source.is_dir() else []
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return "hangs", "", ""
        said = " / ".join(line.strip() for line in run.stderr.splitlines() if line.strip()).replace("|", "\\|")
        made_files = [path for path in (output, *output.glob("*")) if path.is_file()]
        found = describe(made_files[0]) if made_files else "nothing"
        return str(run.returncode), found, said.replace(folder, "")[:400]


def describe(path: Path) -> str:
    """Return streams, lengths and marks of a result in one line."""
    parts = []
    with av.open(str(path)) as container:
        streams = [(stream.index, stream.type, stream.codec_context) for stream in container.streams]
        names = [f"{kind} {context.name if context else ''}".strip() for _, kind, context in streams]
    for index, kind, _ in streams:
        with av.open(str(path)) as container:
            if kind == "video":
                parts.append(_picture(container, index))
            elif kind == "audio":
                parts.append(_sound(container, index))
    return f"{', '.join(names)}; " + "; ".join(parts)


def _picture(container: av.container.InputContainer, index: int) -> str:
    times, light = [], []
    size = ""
    for frame in container.decode(container.streams.video[_number(container, index)]):
        pixels = frame.to_ndarray(format="rgb24")
        times.append(float(frame.time or 0))
        light.append(float(pixels.mean()))
        if not size:
            colours = pixels.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
            size = f"{frame.width}x{frame.height} {frame.format.name} {colours}"
    if not times:
        return "no frames"
    return f"{size} {len(times)} frames {times[0]:.3f} to {times[-1]:.3f} s, flash {times[int(np.argmax(light))]:.3f}"


def _sound(container: av.container.InputContainer, index: int) -> str:
    first = last = click = None
    stream = next(stream for stream in container.streams if stream.index == index)
    for packet in container.demux(stream):
        for frame in packet.decode():
            assert isinstance(frame, av.AudioFrame)
            samples = frame.to_ndarray().astype(np.float64)
            channels = len(frame.layout.channels)
            samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T
            samples = samples / {"s1": 2**15, "s3": 2**31}.get(frame.format.name[:2], 1)
            start = float(frame.time or 0)
            first = start if first is None else first
            last = start + samples.shape[1] / frame.sample_rate
            loud = np.abs(samples).max(axis=0) > LOUD
            if click is None and loud.any():
                click = start + int(loud.argmax()) / frame.sample_rate
    marks = "no samples" if first is None or last is None else f"sound {first:.3f} to {last:.3f} s"
    return marks + ("" if click is None else f", click {click:.3f}")


def _number(container: av.container.InputContainer, index: int) -> int:
    return [stream.index for stream in container.streams.video].index(index)


if __name__ == "__main__":
    main()
