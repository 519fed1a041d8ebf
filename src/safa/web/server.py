"""The server: it takes uploads, serves results and the page, and starts and stops the workers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from safa.errors import SafaError
from safa.web.choices import FORMATS
from safa.web.guard import LOCAL, Guard, browser_of
from safa.web.job_record import DRAFT, WebJob
from safa.web.job_store import JobStore
from safa.web.markup import FAVICON, saved_name, size_of
from safa.web.material import Limits
from safa.web.trial import SHEET
from safa.web.worker import Workers

# An upload must leave this much room on the disk, in bytes: results are larger than their sources.
ROOM = 1 << 30
MOST_FILES = 2


@dataclass(frozen=True)
class ServerSettings:
    """How the server runs.

    Attributes:
        folder: where jobs are kept; ``keep`` is for how many seconds after their end.
        weights: name on the page -> shipped name or file.
        jobs: how many run at a time.
        password: asked for by the page, if given.
        public: also answer to names other than localhost without a password.
    """

    folder: Path
    limits: Limits
    weights: Mapping[str, str]
    keep: float = 24 * 3600.0
    jobs: int = 1
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = None
    public: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOCAL

    def __post_init__(self) -> None:
        if self.password == "":
            raise SafaError("The password is empty; give one, or leave --password out.")
        if not self.is_local and self.password is None and not self.public:
            raise SafaError(
                f"Everybody who can reach {self.host} could use this server; add --password, or --public if that is "
                "what you want."
            )


def serve(settings: ServerSettings, on_ready: Callable[[str], None]) -> None:
    """Run until Ctrl-C; ``on_ready`` is called with the address. Running jobs go on at the next start.

    Raises:
        SafaError: the port is taken, or the folder is in use.
    """
    listening = _listen(settings.host, settings.port)
    store = JobStore(settings.folder, settings.keep)
    workers = Workers(store, settings.weights, settings.jobs, settings.device, settings.engine, settings.precision)
    try:
        config = uvicorn.Config(
            application(settings, store, workers), log_level="warning", timeout_graceful_shutdown=1, lifespan="on"
        )
        server = uvicorn.Server(config)
        workers.start()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        on_ready(f"http://{host}:{listening.getsockname()[1]}/")
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats the signal once it has shut down
            server.run(sockets=[listening])
    finally:
        workers.stop()
        listening.close()
        store.release()


def application(settings: ServerSettings, store: JobStore, workers: Workers) -> ASGIApp:
    """The whole application, guarded."""
    # Read when gradio is imported: no usage statistics, and no folder outside ours.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(settings.folder / "gradio")
    from safa.web.layout import mount_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return Response(FAVICON, media_type="image/svg+xml")

    @app.post("/upload")
    async def upload(request: Request, name: str = "", draft: str = "") -> Response:
        return await receive(request, store, settings.limits, name, draft)

    @app.get("/jobs/{identifier}/{file}")
    def job_file(request: Request, identifier: str, file: str) -> Response:
        job = store.get(browser_of(request), identifier)
        found = _file_of(job, store.place(job), file) if job is not None else None
        if job is None or found is None or not found[0].is_file():
            return PlainTextResponse("There is nothing here.\n", 404)
        path, media_type = found
        headers = {"Cache-Control": "private, max-age=3600"}
        if "save" in request.query_params:
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(saved_name(job, path.suffix))}"
        return FileResponse(path, media_type=media_type, headers=headers)

    mount_page(app, store, workers, settings.limits)
    local_only = settings.is_local and settings.password is None and not settings.public
    return Guard(app, settings.password, local_only)


async def receive(request: Request, store: JobStore, limits: Limits, name: str, draft: str) -> Response:
    """Store one uploaded file, the request's body, in a new draft or in the one named."""
    owner = browser_of(request)
    if not owner:
        return _refusal("This page needs a cookie to find your jobs again; allow cookies and reload it.", 403)
    job = store.get(owner, draft) if draft else None
    # What has been looked at stays as it is.
    is_open = job is not None and job.state == DRAFT and not job.facts and not job.is_arriving
    if draft and (job is None or not is_open or len(job.names) >= MOST_FILES):
        return _refusal("Something went wrong with this upload; reload the page and try again.", 409)
    name = Path(name.replace("\\", "/")).name[:200] or "upload"
    stated = request.headers.get("content-length", "")
    claimed = int(stated) if stated.isdigit() else 0
    if claimed > limits.bytes:
        return _too_large(name, claimed, limits)
    if store.free_bytes() - claimed < ROOM:
        return _disk_full()
    try:
        job = job or store.draft(owner)
    except SafaError as error:
        return _refusal(str(error), 429)
    except OSError:
        return _refusal("This server cannot store uploads; its owner has to look at it.", 507)
    job.is_arriving, job.bytes_to_come = True, claimed
    try:
        return await _write(request, store, limits, name, job)
    finally:
        job.is_arriving, job.bytes_to_come = False, 0


async def _write(request: Request, store: JobStore, limits: Limits, name: str, job: WebJob) -> Response:
    """Write the request's body into the job's folder; the job is removed if that does not succeed."""
    target = store.input_of(job, len(job.names) + 1)
    temporary = target.with_name(target.name + ".part")
    size, is_full = 0, False
    try:
        with temporary.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.bytes:
                    break
                await run_in_threadpool(file.write, chunk)
                job.bytes_to_come = max(0, job.bytes_to_come - len(chunk))
                is_full = store.free_bytes() < ROOM
                if is_full:
                    break
        if 0 < size <= limits.bytes and not is_full:
            os.replace(temporary, target)
    except (ClientDisconnect, OSError):
        store.remove(job)
        return _refusal(f"{name} did not arrive whole; try again.", 400)
    if is_full:
        store.remove(job)
        return _disk_full()
    if size > limits.bytes or size == 0:
        store.remove(job)
        return _too_large(name, None, limits) if size else _refusal(f"{name} is empty.", 400)
    store.change(job, names=[*job.names, name])
    return JSONResponse({"draft": job.id})


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status)


def _disk_full() -> Response:
    return _refusal("This server's disk is full; try again when older jobs have been deleted.", 507)


def _too_large(name: str, size: int | None, limits: Limits) -> Response:
    told = size_of(size) if size is not None else f"more than {size_of(limits.bytes)}"
    return _refusal(f"{name} is {told}; this server takes at most {size_of(limits.bytes)}.", 413)


def _file_of(job: WebJob, place: Path, name: str) -> tuple[Path, str] | None:
    """The file of a job that goes by this name, and its media type."""
    stills = {"before": "before.webp", "after": "after.webp", "loop": "loop.webp"}
    if name in stills:
        return place / stills[name], "image/webp"
    if name == "sheet" and job.is_trial:
        return place / SHEET, "image/png"
    if name == "source" and job.kind == "video" and job.facts:
        return place / "input", "video/webm" if "webm" in job.facts["format"] else "video/mp4"
    if name == "result" and job.result:
        kinds = {".zip": "application/zip", ".png": "image/png"} | {
            suffix: kind for _, suffix, _, kind in FORMATS.values()
        }
        path = place / job.result["file"]
        return path, kinds.get(path.suffix, "application/octet-stream")
    return None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # requests before the server is ready wait instead of being refused
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SafaError(
            f"Port {port} of {host} cannot be used ({reason.lower()}); choose another --port, or stop what uses it."
        ) from None
    return listening


def default_folder() -> Path:
    """Where the jobs of this user are kept."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "safa" / "serve"
