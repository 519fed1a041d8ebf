"""Files over a cluster: the longest first, several in flight, so that no worker waits for the end of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.cluster.connect import joined
from safa.cluster.film import Request
from safa.cluster.job import ClusterJob, Listeners
from safa.cluster.pool import Pool, WorkerShape
from safa.errors import SafaError
from safa.jobs.batch import Outcome, settled_before
from safa.jobs.job import PIPE
from safa.jobs.prepare import check_request, expected_frames, prepare_job
from safa.jobs.settings import UpscaleSettings
from safa.upscaler.upscaler import span_of
from safa.video.read.folder import open_reader
from safa.video.write.journal import discard_checked


@dataclass(frozen=True)
class ClusterSettings:
    """Where to compute.

    Attributes:
        address: "auto" (the Ray cluster of this machine, or one that is started here), "host:port" or "ray://host:port".
        shape: how many workers, and what each takes.
        device, engine, precision: as for ``safa.load``.
        memory: bytes that each worker may take; a share of its machine, as its CPUs are, if None.
    """

    address: str = "auto"
    shape: WorkerShape = field(default_factory=WorkerShape)
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    memory: int | None = None


def upscale_on_cluster(
    jobs: Sequence[tuple[Path, Path]],
    cluster: ClusterSettings | None = None,
    *,
    settings: UpscaleSettings | None = None,
    weights: str | Path | Checkpoint = DEFAULT,
    overwrite: bool = False,
    restart: bool = False,
    is_batch: bool = False,
    listeners: Listeners | None = None,
) -> list[Outcome]:
    """Do what ``upscale`` does with each (source, output) on a Ray cluster; the frames are the same.

    This process, the driver, reads the sources and writes the outputs; it needs their files. Workers need the package,
    and either see the sources and the outputs' folder by the same path, or get and send the bytes.

    Args:
        is_batch: skip what was finished by the same request, make folders, and report bad files by their outcomes, as
            ``upscale_many`` does; otherwise what is wrong with a file is raised, where possible before the cluster is
            joined.
        listeners: ``start`` and ``outcome`` are called before and after each file (only the latter for one that was
            finished before), ``progress`` after every segment with the figures of all files, ``warning`` for what
            cannot be carried over and for what is tried again.

    Returns:
        An outcome per job, in their order.

    Raises:
        ClusterError: Ray is missing, no cluster answers, or it has no room.
        SafaError: unusable weights; where it is no batch, what is wrong with a file.
        KeyboardInterrupt: after finished segments are safe.
    """
    cluster, listeners = cluster or ClusterSettings(), listeners or Listeners()
    checkpoint = weights if isinstance(weights, Checkpoint) else load_checkpoint(weights)
    span = span_of(checkpoint.config)
    request = Request(
        settings or UpscaleSettings(), checkpoint.sha256, overwrite, restart, is_batch, cluster.memory, span
    )
    outcomes: dict[tuple[Path, Path], Outcome] = {}
    for job in jobs if is_batch and not overwrite else ():
        outcome = settled_before(*job, request.settings, request.weights)
        if outcome is not None:
            if not outcome.failed:
                discard_checked(job[1])
            outcomes[job] = outcome
            listeners.tell_outcome(outcome)
    open_jobs, expected = _longest_first([job for job in jobs if job not in outcomes], request)
    if open_jobs:
        with joined(cluster.address) as (ray, can_grow):
            computing = cluster.device, cluster.engine, cluster.precision, cluster.memory
            pool = Pool(ray, cluster.shape, checkpoint, *computing, can_grow=can_grow)
            if not pool.capacity() and listeners.warning is not None:
                listeners.warning(f"{pool.no_room()}; waiting for one that joins it.")
            try:
                made = ClusterJob(pool, request, listeners).run(open_jobs, expected)
            finally:
                pool.stop()
        outcomes |= dict(zip(open_jobs, made, strict=True))
    return [outcomes[job] for job in jobs]


def _longest_first(
    jobs: Sequence[tuple[Path, Path]], request: Request
) -> tuple[list[tuple[Path, Path]], dict[Path, int]]:
    """The jobs by falling cost, as what takes long must not be started last, and their expected frames by output."""
    settings, costs, expected = request.settings, {}, {}
    for source, output in jobs:
        try:
            if PIPE in (source, output):
                raise SafaError("A pipe cannot be shared with a cluster; give files, or leave out --cluster.")
            if not request.is_batch:
                check_request(source, output, settings, request.overwrite)
            with open_reader(source, settings.reading) as reader:
                if not request.is_batch:
                    prepare_job(reader, source, output, settings, request.memory)
                expected[output] = expected_frames(reader, settings) or 0
                costs[output] = expected[output] * reader.info.width * reader.info.height
        except SafaError:
            if not request.is_batch:
                raise
            costs[output] = 0  # the error is reported when the file is opened
    return sorted(jobs, key=lambda job: -costs[job[1]]), expected
