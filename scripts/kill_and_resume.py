"""Kill one job again and again with SIGKILL, resume it, and compare the result with an uninterrupted one.

    python scripts/kill_and_resume.py CLIP --weights FILE --kills 20 --scale 1.5

Prints how many frames each kill cost and whether the final frames are equal; exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

SEGMENT = 8
# The command line with short segments, so that a short clip has many.
LAUNCH = f"import safa.jobs.plan as c; c.SEGMENT_FRAMES = {SEGMENT}; from safa.cli import main; main()"


def start(source: Path, output: Path, weights: str, scale: str) -> subprocess.Popen[str]:
    """One run of the job with JSON progress."""
    command = [
        sys.executable,
        "-c",
        LAUNCH,
        "upscale",
        str(source),
        "-o",
        str(output),
        "--weights",
        weights,
        "--json",
        "--rate",
        "4",
        "--scale",
        scale,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def frame_hashes(path: Path) -> list[str]:
    """Time and content of every frame."""
    with av.open(str(path)) as container:
        return [
            f"{frame.pts} {hashlib.sha256(frame.to_ndarray(format='rgb24').tobytes()).hexdigest()}"
            for frame in container.decode(video=0)
        ]


def progress_of(text: str) -> list[int]:
    """Frame numbers a run reported."""
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [event["done"] for event in events if event["event"] == "progress"]


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--scale", default="4")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, output = Path(folder) / "whole.mp4", Path(folder) / "killed.mp4"
        process = start(arguments.source, whole, arguments.weights, arguments.scale)
        process.communicate()
        if process.returncode != 0:
            print("the uninterrupted run failed")
            return 1
        wrong, costs, last_seen = 0, [], 0
        for kill in range(arguments.kills):
            process = start(arguments.source, output, arguments.weights, arguments.scale)
            assert process.stdout is not None
            # After some frames, and then anywhere inside the next: while encoding, closing or recording a segment.
            text = "".join(process.stdout.readline() for _ in range(rng.randint(1, 12)))
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            seen = progress_of(text + process.communicate()[0])
            if seen and last_seen:
                costs.append(last_seen - (seen[0] - 1))
            last_seen = seen[-1] if seen else last_seen
            if output.exists():
                print(f"kill {kill}: the job had finished before it")
                break
        process = start(arguments.source, output, arguments.weights, arguments.scale)
        text, errors = process.communicate()
        if process.returncode != 0:
            print(errors)
            return 1
        if seen := progress_of(text):
            costs.append(last_seen - (seen[0] - 1))
        equal = frame_hashes(whole) == frame_hashes(output)
        # Progress counts frames handed to the encoder's queue, so a few more than a segment can be under way.
        wrong += sum(cost > SEGMENT + 8 for cost in costs) + (not equal)
        print(f"{arguments.kills} kills; frames done again after each: {costs}; segment: {SEGMENT} frames")
        print("frames equal to the uninterrupted run" if equal else "FRAMES DIFFER")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
