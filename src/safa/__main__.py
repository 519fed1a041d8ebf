"""``python -m safa`` is the ``safa`` command."""

from safa.cli import main

main()
