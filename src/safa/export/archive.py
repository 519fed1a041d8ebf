"""Parts as ``torch.export`` archives (.pt2), for programs that have PyTorch but not this package."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from safa.export.parts import NetworkPart
from safa.export.run import Archives, Run
from safa.export.sizes import dynamic_shapes, example_inputs
from safa.network.config import SafaConfig


class ArchiveWriter:
    """Writes parts as archives, and runs them."""

    suffix = ".pt2"
    runtime = f"PyTorch {torch.__version__}"
    opset: int | None = None

    def write(self, part: NetworkPart, config: SafaConfig, path: Path, facts: dict[str, Any]) -> None:
        """Export one part; ``facts`` lie in the archive as the extra file "model.json"."""
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                part.module, example_inputs(part, config), dynamic_shapes=dynamic_shapes(part, config)
            )
            program.example_inputs = None  # they would be stored, and pickled at that
            torch.export.save(program, path, extra_files={"model.json": json.dumps({**facts, "part": part.name})})

    def runner(self, folder: Path) -> Run:
        """Run the archives in ``folder`` on the CPU."""
        return Archives(folder)
