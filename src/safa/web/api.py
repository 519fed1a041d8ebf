"""The JSON API below /api: jobs of a browser, their uploads, events and files. ``docs/serve.md`` describes it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

from safa.errors import SafaError
from safa.web.guard import BROWSER_COOKIE, browser_of, cookie
from safa.web.jobs import CANCELLED, DRAFT, FAILED, JobStore, WebJob
from safa.web.options import FORMATS, Options, ResultPlan, offered_options
from safa.web.results import SHEET
from safa.web.uploads import (
    MOST_FILES,
    DiskRoom,
    Limits,
    UploadError,
    describe_upload,
    display_name,
    save_upload,
    too_large,
)
from safa.web.views import Views, file_names, saved_name
from safa.web.worker import Workers

EVENT_SECONDS = 0.5
"""Seconds between two looks at the jobs; an event is sent where something changed."""

QUIET_SECONDS = 15.0
"""Seconds after which a comment is sent, so that proxies keep the connection."""

JOB_GONE = "This job is no longer there."
DRAFT_GONE = "The upload is no longer there; drop it again."
STILLS = {"before": "before.webp", "after": "after.webp", "loop": "loop.webp"}
MEDIA_TYPES = {".zip": "application/zip", ".png": "image/png"} | {
    entry.suffix: entry.media_type for entry in FORMATS.values()
}

Values = Annotated[dict[str, Any], Body(default_factory=dict)]


class ApiError(Exception):
    """A request that is refused: one sentence and the HTTP status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.sentence, self.status = sentence, status


def owner_of(request: Request) -> str:
    """Return the id of the browser. Raises ``ApiError`` where it has none."""
    owner = browser_of(request)
    if not owner:
        raise ApiError("This page needs a cookie to find your jobs again; allow cookies and reload it.", 403)
    return owner


Owner = Annotated[str, Depends(owner_of)]


class Api:
    """Handlers of the API.

    Args:
        is_stopping: True once the server ends; streams of events end then.
    """

    def __init__(self, store: JobStore, workers: Workers, limits: Limits, is_stopping: Callable[[], bool]) -> None:
        self.store, self.workers, self.limits, self.is_stopping = store, workers, limits, is_stopping
        self.views = Views(store, workers)
        self.room = DiskRoom(store.folder)
        # Reading an upload keeps a processor busy.
        self._readers = asyncio.Semaphore(2)

    def router(self) -> APIRouter:
        """Return the addresses of the API."""
        router = APIRouter(prefix="/api")
        add = router.add_api_route
        add("/session", self.open_session, methods=["POST"], status_code=204, response_model=None)
        add("/options", self.options, methods=["GET"])
        add("/events", self.events, methods=["GET"], response_model=None)
        add("/jobs", self.list_jobs, methods=["GET"])
        add("/jobs", self.create, methods=["POST"], status_code=201)
        add("/jobs/{identifier}", self.inspect, methods=["GET"])
        add("/jobs/{identifier}", self.delete, methods=["DELETE"], status_code=204, response_model=None)
        add("/jobs/{identifier}/uploads/{number}", self.upload, methods=["PUT"])
        add("/jobs/{identifier}/forecast", self.forecast, methods=["POST"])
        add("/jobs/{identifier}/start", self.start, methods=["POST"])
        add("/jobs/{identifier}/try", self.try_out, methods=["POST"], status_code=201)
        add("/jobs/{identifier}/cancel", self.cancel, methods=["POST"])
        add("/jobs/{identifier}/resume", self.resume, methods=["POST"])
        add("/jobs/{identifier}/files/{name}", self.file, methods=["GET", "HEAD"], response_model=None)
        return router

    def open_session(self, request: Request, response: Response) -> None:
        """Give the browser an id, which identifies its jobs, if it has none."""
        if not browser_of(request):
            response.headers.append("Set-Cookie", cookie(BROWSER_COOKIE, secrets.token_hex(16), request.scope))

    def options(self) -> dict[str, Any]:
        """Return the offered options, their defaults, and the limits of the server."""
        weights = self.workers.weights
        return {
            "options": offered_options(weights),
            "defaults": Options(next(iter(weights))).to_dict(),
            "limits": {
                "bytes": self.limits.bytes,
                "seconds": self.limits.seconds,
                "pixels": self.limits.pixels,
                "files": MOST_FILES,
            },
        }

    def list_jobs(self, owner: Owner) -> dict[str, Any]:
        """Return all jobs of the browser."""
        return self.views.jobs(owner)

    async def events(self, owner: Owner) -> Response:
        """Send all jobs of the browser whenever something changed, as server-sent events."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(owner), media_type="text/event-stream", headers=headers)

    async def _events(self, owner: str) -> AsyncIterator[str]:
        sent, quiet = "", 0.0
        while not self.is_stopping():
            jobs = json.dumps(await run_in_threadpool(self.views.jobs, owner))
            if jobs != sent:
                yield f"event: jobs\ndata: {jobs}\n\n"
                sent, quiet = jobs, 0.0
            elif quiet >= QUIET_SECONDS:
                yield ": nothing changed\n\n"
                quiet = 0.0
            await asyncio.sleep(EVENT_SECONDS)
            quiet += EVENT_SECONDS

    def create(self, owner: Owner, values: Values) -> dict[str, Any]:
        """Create a draft for one or two files, given as ``{"files": [{"name": ..., "size": ...}]}``; size is optional,
        and refused here instead of after the upload where it is too large.
        """
        files = values.get("files")
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise ApiError('The files must be a list, such as {"files": [{"name": "clip.mp4", "size": 12345}]}.', 422)
        if not 1 <= len(files) <= MOST_FILES:
            raise ApiError("Drop one clip or two pictures, not more." if files else "There is no file.", 422)
        names = [display_name(str(file.get("name") or "")) for file in files]
        sizes = [file.get("size", 0) for file in files]
        for name, size in zip(names, sizes, strict=True):
            if not isinstance(size, int) or size < 0:
                raise ApiError(f"The size of {name} must be a number of bytes.", 422)
            if size > self.limits.bytes:
                raise too_large(name, size, self.limits)
        self.room.check(sum(sizes))
        try:
            return self.views.job(self.store.draft(owner, names))
        except OSError:
            raise ApiError("This server cannot store uploads; its owner has to look at it.", 507) from None
        except SafaError as error:
            raise ApiError(str(error), 429) from None

    async def upload(self, request: Request, owner: Owner, identifier: str, number: int) -> dict[str, Any]:
        """Store one file of a draft, the request's body; the answer to the last one has the properties of all."""
        job = self.store.get(owner, identifier)
        if job is None:
            raise ApiError(DRAFT_GONE, 404)
        target = self.store.input_of(job, number)
        is_next = 1 <= number <= len(job.names) and not target.exists()
        if not is_next or not self.store.begin_upload(job):
            raise ApiError("Something went wrong with this upload; reload the page and try again.", 409)
        is_kept = False
        try:
            length = request.headers.get("content-length", "")
            await save_upload(
                aiter(request.stream()),
                int(length) if length.isdigit() else None,
                target,
                job.names[number - 1],
                self.limits,
                self.room,
                is_wanted=lambda: self.store.contains(job),
            )
            files = [(self.store.input_of(job, k), name) for k, name in enumerate(job.names, 1)]
            if all(path.exists() for path, _ in files):
                async with self._readers:
                    kind, facts = await run_in_threadpool(describe_upload, files, self.limits)
                self.store.change(job, kind=kind, facts=facts)
            is_kept = True
        except ClientDisconnect:
            raise ApiError(f"{job.names[number - 1]} did not arrive whole; try again.", 400) from None
        finally:
            job.is_arriving = False
            if not is_kept:
                self.store.remove(job)
        return self.views.job(job)

    def inspect(self, owner: Owner, identifier: str) -> dict[str, Any]:
        """Return one job."""
        return self.views.job(self._job(owner, identifier))

    def delete(self, owner: Owner, identifier: str) -> None:
        """Delete a job that is not running, with all of its files."""
        if not self.store.remove(self._job(owner, identifier)):
            raise ApiError("This job is running; cancel it first.", 409)

    def forecast(self, owner: Owner, identifier: str, values: Values) -> dict[str, Any]:
        """Return what a draft becomes with some options, and how long that takes."""
        draft = self._draft(owner, identifier)
        return self.views.forecast(draft, self._plan(draft, values))

    def start(self, owner: Owner, identifier: str, values: Values) -> dict[str, Any]:
        """Queue a draft with some options."""
        draft = self._draft(owner, identifier)
        self.store.queue(draft, self._plan(draft, values).options)
        return self.views.job(draft)

    def try_out(self, owner: Owner, identifier: str, values: Values) -> dict[str, Any]:
        """Queue a second of a draft with every network, as a job of its own; the draft stays."""
        draft = self._draft(owner, identifier)
        if draft.kind != "video":
            raise ApiError("A second can be tried of a clip, not of pictures.", 422)
        return self.views.job(self.store.try_out(draft, self._plan(draft, values).options))

    def cancel(self, owner: Owner, identifier: str) -> dict[str, Any]:
        """Stop a job: at once if it waits, after the current frame if it runs."""
        job = self._job(owner, identifier)
        self.store.cancel(job)
        return self.views.job(job)

    def resume(self, owner: Owner, identifier: str) -> dict[str, Any]:
        """Queue a failed or cancelled job again."""
        job = self._job(owner, identifier)
        if job.state not in (FAILED, CANCELLED):
            raise ApiError("Only a failed or cancelled job can go on.", 409)
        self.store.resume(job)
        return self.views.job(job)

    def file(self, request: Request, owner: Owner, identifier: str, name: str) -> Response:
        """Return a file of a job, or a range of its bytes; with ``?save`` browsers save it."""
        job = self._job(owner, identifier)
        path, media_type = self._path_of(job, name)
        headers = {"Cache-Control": "private, max-age=3600"}
        if "save" in request.query_params:
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(saved_name(job, path.suffix))}"
        return FileResponse(path, media_type=media_type, headers=headers)

    def _path_of(self, job: WebJob, name: str) -> tuple[Path, str]:
        """Return path and media type of a file by the name it has in the API."""
        folder = self.store.folder_of(job)
        if name not in file_names(job):
            raise ApiError("This job has no such file.", 404)
        if name in STILLS:
            path, media_type = folder / STILLS[name], "image/webp"
        elif name == "sheet":
            path, media_type = folder / SHEET, "image/png"
        elif name == "source":
            path, media_type = folder / "input", "video/webm" if "webm" in job.facts["format"] else "video/mp4"
        else:
            path = folder / job.result["file"]
            media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
        if not path.is_file():
            raise ApiError("This job has no such file.", 404)
        return path, media_type

    def _job(self, owner: str, identifier: str) -> WebJob:
        job = self.store.get(owner, identifier)
        if job is None:
            raise ApiError(JOB_GONE, 404)
        return job

    def _draft(self, owner: str, identifier: str) -> WebJob:
        job = self.store.get(owner, identifier)
        if job is None or not job.facts:
            raise ApiError(DRAFT_GONE, 404)
        if job.state != DRAFT:
            raise ApiError("This job was started already.", 409)
        return job

    def _plan(self, draft: WebJob, values: dict[str, Any]) -> ResultPlan:
        plan = ResultPlan(draft.kind, draft.facts, Options.parse(values, self.workers.weights))
        plan.check()
        return plan


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the API with ``{"error": "one sentence"}``."""

    def answer(request: Request, sentence: str, status: int) -> Response:
        if request.scope["path"].startswith("/api/"):
            return JSONResponse({"error": sentence}, status)
        return PlainTextResponse(sentence + "\n", status)

    @app.exception_handler(ApiError)
    def refused(request: Request, error: ApiError) -> Response:
        return answer(request, error.sentence, error.status)

    @app.exception_handler(SafaError)
    def impossible(request: Request, error: SafaError) -> Response:
        return answer(request, str(error), error.status if isinstance(error, UploadError) else 422)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, "The request is not one of this server's; its body must be a JSON object.", 422)

    @app.exception_handler(HTTPException)
    def missing(request: Request, error: HTTPException) -> Response:
        sentence = "There is nothing here." if error.status_code == 404 else f"{error.detail}."
        return answer(request, sentence, error.status_code)
