"""Training: recipes, the objective and the resumable loop."""

from safa.training.config import TrainConfig
from safa.training.objective import Objective
from safa.training.trainer import TrainProgress, train

__all__ = ["Objective", "TrainConfig", "TrainProgress", "train"]
