"""The commands for training: pack, train, ablate, import-checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from safa.cli.common import INTERRUPTED, Overwrite, path_named, progress_bar, stderr, stdout
from safa.errors import SafaError, to_install
from safa.video.files import check_target

if TYPE_CHECKING:
    from safa.data.pack import PackProgress, Teacher
    from safa.training import TrainProgress
    from safa.training.ablation import AblationResult, Row

Data = Annotated[Path, typer.Option(parser=path_named, help="Training pack, or a folder with clips and photographs.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as network.channels=16.")
]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Devices = Annotated[str, typer.Option(help="Number of devices, or auto.")]


def import_checkpoint_command(
    pickle: Annotated[Path, typer.Argument(parser=path_named, help="The authors' flownet.pkl.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=path_named, metavar="FILE", help="Weights file to write.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Convert the authors' released weights."""
    from safa.checkpoint import save_checkpoint
    from safa.network.released import import_released

    check_target(output, overwrite, [pickle])
    network = import_released(pickle)
    save_checkpoint(network, output, {"imported_from": pickle.name})
    stdout.print(f"{escape(str(output))}: {network.config.channels} channels, {network.config.blocks} blocks")


def pack_command(
    source: Annotated[
        Path,
        typer.Argument(parser=path_named, metavar="DIR", help="Folder with clips, folders of frames, photographs."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", parser=path_named, metavar="PACK", help="File to write.")],
    size: Annotated[float, typer.Option(help="Largest size of the pack in MiB.")] = 56.0,
    side: Annotated[int, typer.Option(help="Side of a window in pixels.")] = 384,
    quality: Annotated[int, typer.Option(help="CRF of x264 for the windows; lower is better.")] = 17,
    frames: Annotated[
        int, typer.Option(help="Frames of a window; training on windows of 5 needs 9, of 9 needs 17.")
    ] = 9,
    held_out: Annotated[float, typer.Option(help="Share of the clips that is kept for validation.")] = 0.1,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Keep the clips with NAME in their names for validation, not a share of all; may be given again.",
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="adobe240, gopro, vimeo90k, reds or frames: DIR is this data set.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(parser=path_named, help="List of the data set's sequences to take.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            parser=path_named,
            help="Also pack its pictures: a file of scripts/teacher_weights.py; if repeated, the mean of several.",
        ),
    ] = None,
    moving: Annotated[int, typer.Option(help="Windows of moving photographs to pack in addition to SIZE.")] = 0,
    graphics: Annotated[float, typer.Option(help="Share of these with subtitles, titles and logos.")] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Pack footage and photographs into one compact file for training."""
    from safa.data.pack import PackSettings
    from safa.data.pack import pack as run

    inputs = [path for path in (names, *(teacher or ())) if path is not None]
    check_target(output, overwrite, inputs)
    with progress_bar("files") as bar:
        task = bar.add_task("packing", total=None, speed="-")

        def show(progress: PackProgress) -> None:
            description = f"{progress.mebibytes:.1f} MiB {progress.name}"
            bar.update(task, completed=progress.done, total=progress.total, description=description)

        settings = PackSettings(
            size=size,
            side=side,
            frames=frames,
            quality=quality,
            held_out=held_out,
            hold_out=tuple(hold_out or ()),
            moving=moving,
            graphics=graphics,
        )
        packed = run(source, output, settings, layout, names, _teacher(teacher), show)
    stdout.print(
        f"{escape(str(output))}: {packed.mebibytes:.1f} MiB, {packed.windows} windows and {packed.stills} photographs "
        f"to train on, {packed.held_out_windows} and {packed.held_out_stills} held out"
        + (f"; {packed.moving} windows of moving photographs" if packed.moving else "")
    )


def _teacher(paths: list[Path] | None) -> Teacher | None:
    if not paths:
        return None
    _require_training()
    from safa.training.basicvsr import BasicVSRTeacher

    return BasicVSRTeacher(paths)


def train_command(
    data: Data,
    out: Annotated[Path, typer.Option(parser=path_named, help="Folder of the run.")],
    config: Annotated[Path | None, typer.Option(parser=path_named, help="Recipe (TOML); see recipes/.")] = None,
    settings: SettingsOption = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time; continue with --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    init: Annotated[str | None, typer.Option(help="Weights to start from.")] = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
) -> None:
    """Train a network."""
    _require_training()
    from safa.training import TrainConfig
    from safa.training import train as run

    recipe = (
        TrainConfig.from_toml(config, settings or ()) if config else TrainConfig.of_run(out, resume, settings or ())
    )
    with progress_bar("samples") as bar:
        task = bar.add_task("training", total=recipe.steps, speed="-")

        def show(progress: TrainProgress) -> None:
            _report(progress)
            bar.update(
                task,
                completed=progress.step,
                total=progress.steps,
                speed=f"{progress.samples_per_second:.1f}",
                description=_describe(progress),
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
                devices=_devices(devices),
                on_progress=show,
            )
        except KeyboardInterrupt:
            saved = (out / "state.safetensors").is_file()
            kept = f"the run is saved in {escape(str(out))}; continue with --resume" if saved else "no step was done"
            stderr.print(f"safa: stopped; {kept}.")
            raise SystemExit(INTERRUPTED) from None
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one of several processes prints
        stdout.print(f"{escape(str(out))}: {steps} steps done; weights in {escape(str(out / 'last.safetensors'))}")


def ablate_command(
    table: Annotated[
        Path,
        typer.Argument(
            parser=path_named, metavar="TABLE", help="Variants to compare (TOML), such as recipes/ablation.toml."
        ),
    ],
    data: Data,
    out: Annotated[Path, typer.Option(parser=path_named, help="Folder for the runs and the table.")],
    minutes: Annotated[float | None, typer.Option(help="Training time per row.")] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of --minutes: training steps per row.")] = None,
    only: Annotated[str | None, typer.Option(help="Rows to train, such as a1,a2.")] = None,
    settings: SettingsOption = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
) -> None:
    """Train variants with the same budget and compare them; finished rows with the same settings are kept."""
    _require_training()
    from safa.training.ablation import ablate as run
    from safa.training.ablation import as_table, read_rows

    rows = read_rows(table, settings or (), only.split(",") if only else ())
    with progress_bar("rows") as bar:
        task = bar.add_task("ablation", total=len(rows), speed="-")

        def show(row: Row, progress: TrainProgress) -> None:
            bar.update(task, description=f"{row.name}: step {progress.step}, {_describe(progress)}")

        def advance(result: AblationResult) -> None:
            bar.advance(task)

        results = run(
            rows,
            data,
            out,
            minutes=minutes,
            steps=steps,
            accelerator=accelerator,
            devices=_devices(devices),
            on_progress=show,
            on_result=advance,
        )
    stdout.print(escape(as_table(results)))


def _require_training() -> None:
    try:
        import safa.training  # noqa: F401
    except ModuleNotFoundError as error:
        raise SafaError(f"Training needs {error.name}; install it with: {to_install('train')}.") from error


def _devices(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _describe(progress: TrainProgress) -> str:
    held_out = progress.validation
    figures = f", held out {held_out.inputs:.2f} / {held_out.between:.2f} dB" if held_out is not None else ""
    return f"loss {progress.loss:.4f}{figures}"


def _report(progress: TrainProgress) -> None:
    """Print a line for every validation and every warning."""
    held_out = progress.validation
    if held_out is not None and held_out.step == progress.step:
        stdout.print(
            f"step {held_out.step}: inputs {held_out.inputs:.2f} dB ({held_out.inputs - held_out.bicubic:+.2f} over "
            f"bicubic), between {held_out.between:.2f} dB ({held_out.between - held_out.blend:+.2f} over blending)"
        )
    if progress.warning is not None:
        stderr.print(f"warning: {escape(progress.warning)}")
