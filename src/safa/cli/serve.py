"""The command that serves the web page: serve."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from safa.cli.common import ComparedWeights, Device, EngineName, Precision, path_named, stdout
from safa.errors import SafaError, to_install

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
SIZES = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any other than 127.0.0.1 is reachable from outside.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 7860,
    password: Annotated[
        str | None, typer.Option(envvar="SAFA_PASSWORD", help="Asked for once per browser.", show_envvar=True)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Allow access without a password.")] = False,
    folder: Annotated[
        Path | None, typer.Option(parser=path_named, metavar="DIR", help="Folder where jobs are kept.")
    ] = None,
    keep: Annotated[str, typer.Option(help="Delete results this long after the end of a job: 90m, 24h, 7d.")] = "24h",
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Jobs that run at a time.")] = 1,
    weights: ComparedWeights = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    max_size: Annotated[str, typer.Option(help="Largest upload: 500MB, 2GB.")] = "500MB",
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest clip.")] = 600.0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest frame, width times height.")] = 1920 * 1080,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Serve a web page for upscaling clips: drop one, choose options, compare, download.

    Jobs are kept on disk, so they survive reloading the page and restarting the server.
    """
    seconds, most = _quantity(keep, UNITS, "--keep", "24h or 90m"), _quantity(max_size, SIZES, "--max-size", "500MB")
    if any(find_spec(name) is None for name in ("fastapi", "jinja2", "uvicorn")):
        raise SafaError(f"The page needs more packages; install them with: {to_install('web')}.")
    import webbrowser

    from safa.checkpoint import load_checkpoint
    from safa.options import AUTO
    from safa.web.options import offered_weights
    from safa.web.server import ServerSettings, default_folder
    from safa.web.server import serve as run
    from safa.web.uploads import Limits

    offered = weights or offered_weights()
    names = {Path(name).stem: name for name in offered}
    if len(names) < len(offered):
        raise SafaError("Two of the weights have the same name; rename one file.")
    for name in offered:
        if name != AUTO:
            load_checkpoint(name)  # so that damaged weights are reported before the server starts
    settings = ServerSettings(
        folder=(folder or default_folder()).absolute(),
        limits=Limits(round(most), max_seconds, max_pixels),
        weights=names,
        keep=seconds,
        jobs=jobs,
        device=device,
        engine=engine,
        precision=precision,
        host=host,
        port=port,
        password=password,
        public=public,
    )

    def ready(address: str) -> None:
        stdout.print(f"safa is at {escape(address)}  (jobs in {escape(str(settings.folder))}; Ctrl-C ends it)")
        if open_page and settings.is_local:
            webbrowser.open(address)

    run(settings, ready)
    stdout.print("safa: ended; unfinished jobs continue at the next start.")


def _quantity(text: str, units: dict[str, int], option: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if not match or match[2] not in units or not float(match[1]):
        raise SafaError(f"{option} must look like {example}, not {text!r}.")
    return float(match[1]) * units[match[2]]
