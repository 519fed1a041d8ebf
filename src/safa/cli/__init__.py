"""The command line: it reads options, calls the library and prints. Nothing else in the package prints.

Commands import what they need when they run, so that ``safa --help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from safa.cli import export, info, network, pictures, preview, quality, speed, upscale, web
from safa.cli.console import INTERRUPTED, stderr
from safa.cli.examples import epilog
from safa.errors import SafaError, needs_pytorch

app = typer.Typer(
    help="Make a video up to four times larger and N times smoother.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("upscale", epilog=epilog())(upscale.upscale_command)
COMMANDS: dict[str, Callable[..., None]] = {
    "preview": preview.preview_command,
    "between": pictures.between_command,
    "compare": pictures.compare_command,
    "info": info.info_command,
    "evaluate": quality.evaluate_command,
    "inspect": quality.inspect_command,
    "bench": speed.bench_command,
    "export": export.export_command,
    "pack": network.pack_command,
    "train": network.train_command,
    "ablate": network.ablate_command,
    "serve": web.serve_command,
    "import-checkpoint": network.import_checkpoint_command,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
) -> None:
    """Common options."""
    if debug:
        os.environ["SAFA_DEBUG"] = "1"


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the ``safa`` command: one sentence and exit code 2 for bad input, 130 for Ctrl-C."""
    # SIGTERM, as schedulers send it, is handled like Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with needs_pytorch("This"):
            status = app(standalone_mode=False) or 0
    except SafaError as error:
        if os.environ.get("SAFA_DEBUG"):
            raise
        stderr.print(f"safa: {escape(str(error))}")
        sys.exit(error.exit_code)
    except OSError as error:  # such as a name that is too long, or a disk that was taken out
        if os.environ.get("SAFA_DEBUG"):
            raise
        place = f"{error.filename}: " if error.filename else ""
        stderr.print(f"safa: {escape(place)}{(error.strerror or str(error)).lower()} (--debug says where).")
        sys.exit(2)
    except typer.TyperException as error:  # a wrong option or argument
        stderr.print(f"safa: {escape(error.format_message())} Try --help.")
        sys.exit(2)
    except typer.Abort:
        status = INTERRUPTED
    if status == INTERRUPTED:
        stderr.print("safa: stopped.")
    sys.exit(status)
