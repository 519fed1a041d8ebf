"""Measure what a cluster gains on this machine, and what docs/scaling.md's model needs to know.

    python scripts/measure_cluster.py CLIP --rate 8 --workers 2 -o measured.json

Once in one process on one core, once with ``--cluster auto`` and workers of one core each: time of the whole command
(Ray's start included), time from the film's first byte to its finished check, and whether all frames are equal. Then
the processor seconds a frame of each part that the model has. The machine should have nothing else to do, and
the clip should make twenty segments or more: starting Ray takes seconds, and a last odd segment keeps one worker idle.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2

from safa.cluster.plan import Planner
from safa.jobs.plan import SEGMENT_FRAMES, prepare_job
from safa.jobs.report import JobRun, conclude
from safa.network.config import SCALE
from safa.options import UpscaleSettings
from safa.video.folder_source import open_reader
from safa.video.journal import work_folder
from safa.video.segments import SegmentEncoder, open_journal


def run(source: Path, output: Path, weights: str, options: list[str], cores: set[int]) -> dict[str, float]:
    """Seconds of a whole command and of the film alone, on some of the cores."""
    command = [sys.executable, "-m", "safa", "upscale", str(source), "-o", str(output), "--weights", weights]
    threads = {"OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--device", "cpu", "--json", *options],
        env=os.environ | threads,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    return {"command": time.monotonic() - began, "film": report["seconds"], "frames": report["frames"]}


def frame_hashes(path: Path) -> list[str]:
    """Time and content of every frame."""
    with av.open(str(path)) as container:
        return [
            f"{frame.pts} {hashlib.sha256(frame.to_ndarray(format='rgb24').tobytes()).hexdigest()}"
            for frame in container.decode(video=0)
        ]


def parts(source: Path, folder: Path) -> dict[str, Any]:
    """Processor seconds a frame of planning, decoding, encoding and checking, and bytes a frame and a second."""
    settings, output = UpscaleSettings(rate=1), folder / "parts.mp4"
    with open_reader(source) as reader:
        job = prepare_job(reader, source, output, settings)
        began = time.process_time()
        images = [frame.image for _, frame in zip(range(SEGMENT_FRAMES), reader.frames(), strict=False)]
        decoding = (time.process_time() - began) / len(images)
    planner = Planner(settings, job.spec.time_base, SEGMENT_FRAMES)
    with open_reader(source) as reader:
        began = time.process_time()
        planned = list(planner.plans(reader.frames(), reader.origin, lambda frame: True))
        planning = (time.process_time() - began) / planner.frames
    journal = open_journal(work_folder(output), job.spec, {}, False, len(images))
    encoder = SegmentEncoder(journal.segment_path(0), job.spec)
    size = job.spec.width, job.spec.height
    enlarged = [cv2.resize(image[..., :3], size, interpolation=cv2.INTER_CUBIC) for image in images[:24]]
    began = time.process_time()
    for ticks, _ in enumerate(images):
        encoder.write(enlarged[ticks % 24], ticks)
    journal.add(*encoder.finish())
    encoding = (time.process_time() - began) / len(images)
    size_a_frame = journal.segments[0].bytes / len(images)
    journal.close(Fraction(len(images)) * job.spec.time_base)
    began = time.process_time()
    conclude(job, journal, JobRun())
    checking = (time.process_time() - began) / len(images)
    return {
        "source": f"{size[0] // SCALE}x{size[1] // SCALE}",
        "segments planned": len(planned),
        "plan": planning,
        "decode": decoding,
        "encode": encoding,
        "join and check": checking,
        "bytes": size_a_frame,
    }


def main() -> int:
    """Run everything; exit code 1 if frames differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=int, default=2, help="Larger for more segments of a short clip.")
    parser.add_argument("--parts-only", action="store_true", help="Leave out the two runs.")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    measured: dict[str, Any] = {"cores": len(cores), "workers": arguments.workers}
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.parts_only:
            alone, together = Path(folder) / "alone.mp4", Path(folder) / "together.mp4"
            options = ["--rate", str(arguments.rate)]
            measured["alone"] = run(arguments.source, alone, arguments.weights, options, {cores[0]})
            options += ["--cluster", "auto", "--workers", str(arguments.workers)]
            measured["cluster"] = run(arguments.source, together, arguments.weights, options, set(cores))
            measured["ratio"] = {
                name: round(measured["alone"][name] / measured["cluster"][name], 3) for name in ("command", "film")
            }
            measured["frames equal"] = equal = frame_hashes(alone) == frame_hashes(together)
        measured["parts"] = parts(arguments.source, Path(folder))
    text = json.dumps(measured, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
