"""Write the graphs of the shipped networks' layouts to src/safa/graphs: python scripts/make_graphs.py"""

from __future__ import annotations

from pathlib import Path

from safa.checkpoint import load_checkpoint, shipped_names
from safa.engine.onnx import GRAPHS
from safa.export.graphs import write_graphs


def main() -> None:
    """Write one folder for each layout, named after the first weights that have it."""
    layouts = {load_checkpoint(name).config: name for name in reversed(shipped_names())}
    for config, name in layouts.items():
        write_graphs(config, Path(GRAPHS) / name)
        print(name)


if __name__ == "__main__":
    main()
