"""Put trained weights among the shipped ones: half precision, a digest in SHA256SUMS, the training in the file.

python scripts/ship_weights.py fast runs/fast/last.safetensors --note "hardware: 2-core CPU"
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from safa.checkpoint import SHIPPED, load_checkpoint, save_checkpoint


def main() -> None:
    """Convert, then rewrite the sums of everything that is shipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    trained = load_checkpoint(arguments.checkpoint)
    provenance = {**trained.provenance, "note": arguments.note}
    save_checkpoint(trained.network, SHIPPED / f"{arguments.name}.safetensors", provenance, "float16")
    shipped = sorted(SHIPPED.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in shipped]
    (SHIPPED / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
