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
from safa.video.pipes import end_reading, end_writing, is_stalled

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


def _interrupt(number: int, frame: object) -> None:
    # Threads that wait for a stalled pipe would be waited for.
    end_reading()
    end_writing()
    raise KeyboardInterrupt


def _open_standard_streams() -> None:
    """Point those that are closed to nothing: else the next file that is opened gets their number, and FFmpeg's
    messages."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> None:
    """Entry point of the ``safa`` command: one sentence and exit code 2 for bad input, 130 for Ctrl-C."""
    _open_standard_streams()
    # SIGTERM, as schedulers send it, is handled like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status: int | str | None = _status()
        if status == INTERRUPTED:
            stderr.print("safa: stopped.")
    except SystemExit as stop:
        status = stop.code
    if status == INTERRUPTED and is_stalled(sys.stdout):  # the end of the process would wait to print the rest
        os._exit(INTERRUPTED)
    sys.exit(status)


def _status() -> int:
    """Run the command; its exit code."""
    try:
        with needs_pytorch("This"):
            return app(standalone_mode=False) or 0
    except SafaError as error:
        if os.environ.get("SAFA_DEBUG"):
            raise
        stderr.print(f"safa: {escape(str(error))}")
        return error.exit_code
    except OSError as error:  # such as a name that is too long, or a disk that was taken out
        if os.environ.get("SAFA_DEBUG"):
            raise
        place = f"{error.filename}: " if error.filename else ""
        stderr.print(f"safa: {escape(place)}{(error.strerror or str(error)).lower()} (--debug says where).")
        return 2
    except typer.TyperException as error:  # a wrong option or argument
        stderr.print(f"safa: {escape(error.format_message())} Try --help.")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
