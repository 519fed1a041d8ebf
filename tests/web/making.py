"""A store and a worker with a tiny network, and jobs for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from safa.checkpoint import save_checkpoint
from safa.web.choices import DEFAULTS
from safa.web.job_record import WebJob
from safa.web.job_store import JobStore
from safa.web.material import Limits, describe_upload
from safa.web.worker import Workers
from tests.conftest import tiny_network

ME, OTHER = "a" * 32, "b" * 32
LIMITS = Limits(bytes=200_000, seconds=5, pixels=100 * 100)


def tiny_weights(folder: Path) -> Path:
    """A small network of the shipped kind, as a file."""
    path = folder / "tiny.safetensors"
    save_checkpoint(tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1), path)
    return path


def workers_of(store: JobStore, weights: Path) -> Workers:
    """Threads that are not started: the tests call what they would."""
    return Workers(store, {"tiny": str(weights)}, device="cpu")


def make_job(store: JobStore, *uploads: Path, owner: str = ME, **choices: Any) -> WebJob:
    """A queued job of these files."""
    job = store.draft(owner)
    for number, path in enumerate(uploads, 1):
        shutil.copy(path, store.place(job) / ("input" if number == 1 else f"input{number}"))
    files = [(store.place(job) / name, upload.name) for name, upload in zip(("input", "input2"), uploads, strict=False)]
    kind, facts = describe_upload(files, LIMITS)
    store.change(job, kind=kind, facts=facts, names=[path.name for path in uploads])
    store.queue(job, {**DEFAULTS, "weights": "tiny", **choices})
    return job


def write_picture(path: Path, shade: int, size: tuple[int, int] = (20, 14)) -> Path:
    """A gradient, lighter for higher ``shade``; ``size`` is width, height."""
    width, height = size
    picture = np.tile(np.linspace(0, 100, width), (height, 1))[..., None] + np.array([shade, 60, 90])
    cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))
    return path
