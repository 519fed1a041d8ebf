"""Cost of a film on 1 to 1,000 GPUs, and the first bottleneck: the model of docs/scaling.md.

    python scripts/simulate_scaling.py
    python scripts/simulate_scaling.py --synthesis 0.02 --plan 0.004 --segment 48

Every segment is followed through the driver's plan, a worker, shared storage and the journal; then the output is joined
and checked. All times are in seconds. Parameters that are marked "assumed" below are no measurements.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass, fields
from itertools import repeat

SIZES = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)


@dataclass(frozen=True)
class Model:
    """The parameters. Measured ones: a 960x540 clip, processor time on one core, scripts/measure_cluster.py."""

    hours: float = 2.0  # length of the film
    rate: float = 24.0  # source frames per second
    factor: int = 2  # output frames for each source frame
    segment: int = 96  # output frames in a segment
    keyframe: float = 125.0  # assumed: source frames between two keyframes; half of them are decoded in vain
    plan: float = 0.0066  # planning a source frame on the driver
    decode: float = 0.0045  # decoding a source frame, on a worker
    synthesis: float = 0.05  # assumed: an output frame on one GPU
    encode: float = 0.35  # encoding an output frame, on one core of a worker
    cores: float = 8.0  # assumed: cores of a worker beside its GPU
    bytes: float = 150e3  # assumed: an encoded output frame
    storage: float = 2e9  # assumed: bytes a second that all workers together can write to shared storage
    record: float = 0.02  # assumed: taking a segment into the journal, on the driver
    join: float = 1e9  # assumed: bytes a second the driver reads segments and writes the output with
    check: float = 0.019  # decoding an output frame for the check, on one core of the driver
    driver: float = 8.0  # assumed: cores of the driver that decode for the check
    start: float = 30.0  # assumed: until all workers have loaded the network
    price: float = 2.5  # assumed: dollars a GPU hour, paid from the start to the end of the last segment


@dataclass(frozen=True)
class Result:
    """Seconds of the whole job, until the last segment, and of each part by itself."""

    total: float
    rendered: float
    parts: dict[str, float]


def simulate(model: Model, workers: int) -> Result:
    """Follow every segment."""
    source_frames = model.hours * 3600 * model.rate
    output_frames = source_frames * model.factor
    segments = round(output_frames / model.segment)
    needed = model.segment / model.factor + 1 + model.keyframe / 2
    # Decoding, synthesis and encoding run side by side in a worker.
    stages = (
        needed * model.decode / model.cores,
        model.segment * model.synthesis,
        model.segment * model.encode / model.cores,
    )
    size = model.segment * model.bytes
    free = list(repeat(model.start, workers))
    written = recorded = 0.0
    for number in range(segments):
        planned = (number + 1) * model.segment / model.factor * model.plan
        made = max(heapq.heappop(free), planned) + max(stages)
        written = max(written, made) + size / model.storage
        heapq.heappush(free, max(made, written))
        recorded = max(recorded, written) + model.record
    joining = 2 * size * segments / model.join
    checking = output_frames * model.check / model.driver
    parts = {
        "workers": model.start + segments * max(stages) / workers,
        "plan": source_frames * model.plan,
        "storage": size * segments / model.storage,
        "journal": segments * model.record,
        "join": joining,
        "check": checking,
    }
    return Result(recorded + joining + checking, recorded, parts)


def table(model: Model) -> str:
    """The result for every number of GPUs, as Markdown."""
    one = simulate(model, 1)
    lines = [
        "| GPUs | rendered | joined and checked | speed-up | efficiency | GPU hours | cost | takes longest |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for workers in SIZES:
        result = simulate(model, workers)
        speed = one.rendered / result.rendered
        hours = workers * result.rendered / 3600
        longest = max(result.parts, key=lambda name: result.parts[name])
        lines.append(
            f"| {workers} | {clock(result.rendered)} | {clock(result.total)} | {speed:.1f} | {speed / workers:.0%} "
            f"| {hours:.1f} | ${hours * model.price:.0f} | {longest} |"
        )
    parts = simulate(model, SIZES[-1]).parts
    lines += ["", "What the parts take by themselves, whatever the number of GPUs:", ""]
    lines += [f"- {name}: {clock(seconds)}" for name, seconds in parts.items() if name != "workers"]
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for parameter in fields(Model):
        kind = int if isinstance(parameter.default, int) else float
        parser.add_argument(f"--{parameter.name}", type=kind, default=parameter.default)
    print(table(Model(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
