"""The server: the page, the API behind it, and the workers that it starts and stops."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import uvicorn
from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from safa.checkpoint import SHARPENED
from safa.errors import SafaError
from safa.options import AUTO
from safa.web.api import Api, add_error_handlers
from safa.web.guard import LOCAL, Guard
from safa.web.jobs import JobStore
from safa.web.options import Options, offered_options, size_text, time_text
from safa.web.uploads import MOST_FILES, Limits
from safa.web.worker import Workers

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the server.

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
        """True where only this machine reaches it."""
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
        app = application(settings, store, workers, is_stopping=lambda: server.should_exit)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on", ws="none", server_header=False
            )
        )
        workers.start()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        on_ready(f"http://{host}:{listening.getsockname()[1]}/")
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats the signal once it has shut down
            server.run(sockets=[listening])
    finally:
        workers.stop()
        listening.close()
        store.release()


def application(
    settings: ServerSettings,
    store: JobStore,
    workers: Workers,
    is_stopping: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """Return the whole application, guarded; ``is_stopping`` is True once the server ends."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.include_router(Api(store, workers, settings.limits, is_stopping).router())
    add_error_handlers(app)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    template = _template()
    page = template.render(**_page_values(settings))

    @app.api_route("/", methods=["GET", "HEAD"])
    def index() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/favicon.ico")
    def favicon() -> FileResponse:
        return FileResponse(FOLDER / "static" / "icon.svg", media_type="image/svg+xml")

    local_only = settings.is_local and settings.password is None and not settings.public
    return Guard(app, settings.password, local_only, lambda error: template.render(is_locked=True, error=error))


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(FOLDER / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("index.html")


def _page_values(settings: ServerSettings) -> dict[str, Any]:
    limits, weights = settings.limits, settings.weights
    return {
        "is_locked": False,
        "options": offered_options(weights),
        "defaults": Options(next(iter(weights))),
        "can_be_sharper": any(name == AUTO or name in SHARPENED for name in weights.values()),
        "limits": limits,
        "most_files": MOST_FILES,
        "limits_text": f"up to {size_text(limits.bytes)}, {time_text(limits.seconds)}, {limits.frame()}",
        "keep": time_text(settings.keep),
    }


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
    """Return the folder of this user's jobs."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "safa" / "serve"
