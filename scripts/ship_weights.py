"""Put trained weights among the shipped ones: half precision, a digest in SHA256SUMS, the training in the file.

python scripts/ship_weights.py fast runs/fast/last.safetensors --note "hardware: 2-core CPU"

--start real --way 1.15 ships weights on the straight line from others through those that were trained, here a little
beyond them: more of what training changed. The selector stays that of --start.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from safa.checkpoint import SHIPPED, Checkpoint, load_checkpoint, on_the_line, save_checkpoint


def main() -> None:
    """Convert, then rewrite the sums of everything that is shipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--start", help="weights where the line begins")
    parser.add_argument("--way", type=float, default=1.0, help="how far to go on it, 1 for the trained weights")
    arguments = parser.parse_args()
    trained = load_checkpoint(arguments.checkpoint)
    provenance = {**trained.provenance, "note": arguments.note}
    network = trained.network
    if arguments.start:
        start = load_checkpoint(arguments.start)
        network = Checkpoint(start.config, on_the_line(start, trained, arguments.way), arguments.name).network
        provenance |= {"start": arguments.start, "way": arguments.way}
    save_checkpoint(network, SHIPPED / f"{arguments.name}.safetensors", provenance, "float16")
    shipped = sorted(SHIPPED.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in shipped]
    (SHIPPED / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
