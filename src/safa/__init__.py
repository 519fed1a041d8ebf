"""SAFA: space-time video super-resolution. Four times larger, N times smoother, in one pass of one small network."""

from safa.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from safa.convert import Progress, Report, UpscaleSettings, upscale
from safa.errors import SafaError
from safa.network.safa import Safa, SafaConfig
from safa.upscaler import Upscaler, load

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
