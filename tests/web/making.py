"""A store and a worker with a tiny network, and jobs for them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from safa.checkpoint import save_checkpoint
from safa.web.jobs import JobStore, WebJob
from safa.web.options import Options
from safa.web.uploads import Limits, describe_upload
from safa.web.worker import Workers
from tests.conftest import tiny_network

HERE = "http://localhost"
ME, OTHER = "a" * 32, "b" * 32
LIMITS = Limits(bytes=200_000, seconds=5, pixels=100 * 100)


def tiny_weights(folder: Path) -> Path:
    """A small network of the shipped kind, as a file."""
    path = folder / "tiny.safetensors"
    save_checkpoint(tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1), path)
    return path


def workers_of(store: JobStore, weights: Path) -> Workers:
    """Workers whose threads are not started: the tests call what they would."""
    return Workers(store, {"tiny": str(weights)}, device="cpu")


def make_draft(store: JobStore, *uploads: Path, owner: str = ME) -> WebJob:
    """A draft of these files, all of which have arrived."""
    job = store.draft(owner, [path.name for path in uploads])
    files = [(store.input_of(job, number), path.name) for number, path in enumerate(uploads, 1)]
    for upload, (path, _) in zip(uploads, files, strict=True):
        shutil.copy(upload, path)
    kind, facts = describe_upload(files, LIMITS)
    store.change(job, kind=kind, facts=facts)
    return job


def make_job(store: JobStore, *uploads: Path, owner: str = ME, **options: Any) -> WebJob:
    """A queued job of these files."""
    job = make_draft(store, *uploads, owner=owner)
    store.queue(job, Options("tiny", **options))
    return job


def write_picture(path: Path, shade: int, size: tuple[int, int] = (20, 14)) -> Path:
    """A gradient, lighter for higher ``shade``; ``size`` is width, height."""
    width, height = size
    picture = np.tile(np.linspace(0, 100, width), (height, 1))[..., None] + np.array([shade, 60, 90])
    cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))
    return path


class Server:
    """An application without a socket, its store, and workers whose threads are not started."""

    def __init__(self, folder: Path, weights: Path, more: dict[str, str] | None = None, **options: Any) -> None:
        from safa.web.server import ServerSettings, application

        settings = ServerSettings(folder / "jobs", LIMITS, {"tiny": str(weights), **(more or {})}, **options)
        self.store = JobStore(settings.folder, 3600)
        self.workers = workers_of(self.store, weights)
        self.is_stopping = False
        self.app = application(settings, self.store, self.workers, lambda: self.is_stopping)

    def client(self, owner: str | None = ME, at: str = HERE, **options: Any) -> Any:
        """A browser with the id ``owner``, or a new one."""
        from starlette.testclient import TestClient

        cookies = {"safa_browser": owner} if owner else {}
        return TestClient(self.app, base_url=at, cookies=cookies, follow_redirects=False, **options)

    def upload(self, *files: tuple[str, Any], owner: str = ME) -> Any:
        """The answer to the last of a draft's uploads, or to the first that is refused."""
        client = self.client(owner)
        answer = client.post("/api/jobs", json={"files": [{"name": name} for name, _ in files]})
        job = answer.json()
        for number, (_, content) in enumerate(files, 1):
            if answer.is_success:
                answer = client.put(f"/api/jobs/{job['id']}/uploads/{number}", content=content)
        return answer
