"""The command line: it reads options, calls the library and prints. Nothing else in the package prints.

Commands import what they need when they run, so that ``safa --help`` and errors in options appear at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from safa.cli import bench, evaluate, export, info, pictures, preview, serve, train, upscale
from safa.cli.common import INTERRUPTED, stderr
from safa.errors import SafaError, needs_pytorch
from safa.video.pipes import end_reading, end_writing, is_stalled

app = typer.Typer(
    help="Enlarge videos up to four times and raise their frame rate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("upscale", epilog=upscale.epilog())(upscale.upscale_command)
COMMANDS: dict[str, Callable[..., None]] = {
    "preview": preview.preview_command,
    "between": pictures.between_command,
    "compare": pictures.compare_command,
    "info": info.info_command,
    "evaluate": evaluate.evaluate_command,
    "inspect": evaluate.inspect_command,
    "bench": bench.bench_command,
    "export": export.export_command,
    "pack": train.pack_command,
    "train": train.train_command,
    "ablate": train.ablate_command,
    "serve": serve.serve_command,
    "import-checkpoint": train.import_checkpoint_command,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options that all commands share."""
    if debug:
        os.environ["SAFA_DEBUG"] = "1"


def _interrupt(number: int, frame: object) -> None:
    # Otherwise the process would wait for threads that wait for a stalled pipe.
    end_reading()
    end_writing()
    raise KeyboardInterrupt


def _open_standard_streams() -> None:
    """Redirect closed standard streams to the null device.

    Otherwise the next file that is opened would get their number, and FFmpeg's messages.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> None:
    """Run the ``safa`` command: one sentence and exit code 2 for bad input, 130 for Ctrl-C."""
    _open_standard_streams()
    # SIGTERM, which schedulers send, is handled like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status: int | str | None = _status()
        if status == INTERRUPTED:
            stderr.print("safa: stopped.")
    except SystemExit as stop:
        status = stop.code
    if status == INTERRUPTED and is_stalled(sys.stdout):  # exiting normally would wait to print the rest
        os._exit(INTERRUPTED)
    sys.exit(status)


def _status() -> int:
    """Run the command and return its exit code."""
    try:
        with needs_pytorch("This"):
            return app(standalone_mode=False) or 0
    except SafaError as error:
        if os.environ.get("SAFA_DEBUG"):
            raise
        stderr.print(f"safa: {escape(str(error))}")
        return error.exit_code
    except OSError as error:  # such as a name that is too long, or a disk that was removed
        if os.environ.get("SAFA_DEBUG"):
            raise
        path = f"{error.filename}: " if error.filename else ""
        stderr.print(f"safa: {escape(path)}{(error.strerror or str(error)).lower()} (--debug shows where).")
        return 2
    except typer.TyperException as error:  # a wrong option or argument
        stderr.print(f"safa: {escape(error.format_message())} Try --help.")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
