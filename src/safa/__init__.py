"""SAFA: space-time video super-resolution. Four times larger, N times smoother, in one pass of one small network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from safa.jobs.job import Report
    from safa.jobs.pipeline import Progress
    from safa.jobs.settings import UpscaleSettings
    from safa.jobs.upscale import upscale
    from safa.network.config import SafaConfig
    from safa.network.safa import Safa
    from safa.upscaler.upscaler import Upscaler, load

# Public names and where they live. They are imported when first used: Importing PyTorch takes a second,
# which `safa --help` does not need.
_HOME = {
    "Checkpoint": "checkpoint",
    "Progress": "jobs.pipeline",
    "Report": "jobs.job",
    "Safa": "network.safa",
    "SafaConfig": "network.config",
    "UpscaleSettings": "jobs.settings",
    "Upscaler": "upscaler.upscaler",
    "load": "upscaler.upscaler",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "upscale": "jobs.upscale",
}

__all__ = [
    "Checkpoint",
    "Progress",
    "Report",
    "Safa",
    "SafaConfig",
    "SafaError",
    "UpscaleSettings",
    "Upscaler",
    "load",
    "load_checkpoint",
    "save_checkpoint",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'safa' has no attribute {name!r}")
    return getattr(import_module(f"safa.{_HOME[name]}"), name)
