"""Commands for people with a network: train, import-checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from safa.cli.console import INTERRUPTED, progress_bar, stderr, stdout
from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.training import TrainProgress


def import_checkpoint(
    pickle: Annotated[Path, typer.Argument(help="The authors' flownet.pkl.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")],
) -> None:
    """Convert the authors' released weights."""
    from safa.checkpoint import import_released, save_checkpoint

    network = import_released(pickle)
    save_checkpoint(network, output, {"imported_from": pickle.name})
    stdout.print(f"{escape(str(output))}: {network.config.channels} channels, {network.config.blocks} blocks")


def train(
    data: Annotated[Path, typer.Option(help="Folder with video clips and photographs.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[Path | None, typer.Option(help="Recipe (TOML); see recipes/.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; go on later with --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    init: Annotated[str | None, typer.Option(help="Weights to start from.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="How many, or auto.")] = "auto",
) -> None:
    """Train a network."""
    try:
        from safa.training import TrainConfig
        from safa.training import train as run
    except ModuleNotFoundError as error:
        raise SafaError(f"Training needs {error.name}; install it with: pip install 'safa-video[train]'.") from error

    recipe = TrainConfig.from_toml(config) if config is not None else TrainConfig.of_run(out, resume)
    with progress_bar("steps") as bar:
        task = bar.add_task("training", total=recipe.steps, speed="-")

        def show(progress: TrainProgress) -> None:
            bar.update(
                task,
                completed=progress.step,
                speed=f"{progress.steps_per_second:.2f}",
                description=f"loss {progress.loss:.4f}",
            )

        try:
            steps = run(
                recipe,
                data,
                out,
                minutes=minutes,
                resume=resume,
                init=init,
                accelerator=accelerator,
                devices=int(devices) if devices.isdigit() else devices,
                on_progress=show,
            )
        except KeyboardInterrupt:
            stderr.print(f"safa: stopped; the run is saved in {escape(str(out))}, go on with --resume.")
            raise SystemExit(INTERRUPTED) from None
    stdout.print(f"{escape(str(out))}: {steps} of {recipe.steps} steps done; weights in {out / 'last.safetensors'}")
