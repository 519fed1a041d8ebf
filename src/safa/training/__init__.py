"""Training: recipes, the objective and the resumable loop."""

from safa.training.config import TrainConfig
from safa.training.loop import TrainProgress, train
from safa.training.objective import Objective

__all__ = ["Objective", "TrainConfig", "TrainProgress", "train"]
