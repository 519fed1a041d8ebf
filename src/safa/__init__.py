"""SAFA: space-time video super-resolution: larger frames and a higher frame rate in one pass of one small network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from safa.jobs.pipeline import Progress
    from safa.jobs.report import Report
    from safa.jobs.upscale import upscale
    from safa.network.config import SafaConfig
    from safa.network.safa import Safa
    from safa.options import ComputeOptions, ReadOptions, UpscaleSettings, WeightsSpec
    from safa.upscaler.upscaler import Upscaler, load

# Modules of the public names, which are imported on first use, because `safa --help` does not need them.
_MODULES = {
    "Checkpoint": "checkpoint",
    "ComputeOptions": "options",
    "Progress": "jobs.pipeline",
    "ReadOptions": "options",
    "Report": "jobs.report",
    "Safa": "network.safa",
    "SafaConfig": "network.config",
    "UpscaleSettings": "options",
    "Upscaler": "upscaler.upscaler",
    "WeightsSpec": "options",
    "load": "upscaler.upscaler",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "upscale": "jobs.upscale",
}

__all__ = [
    "Checkpoint",
    "ComputeOptions",
    "Progress",
    "ReadOptions",
    "Report",
    "Safa",
    "SafaConfig",
    "SafaError",
    "UpscaleSettings",
    "Upscaler",
    "WeightsSpec",
    "load",
    "load_checkpoint",
    "save_checkpoint",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'safa' has no attribute {name!r}")
    return getattr(import_module(f"safa.{_MODULES[name]}"), name)
