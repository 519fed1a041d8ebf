"""Run the ``safa`` command: ``python -m safa``."""

from safa.cli import main

main()
