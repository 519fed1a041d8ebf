"""Put trained weights among the shipped ones: half precision, a digest in SHA256SUMS, the training in the file.

python scripts/ship_weights.py fast runs/fast/last.safetensors --note "hardware: 2-core CPU"

--start real --way 1.15 ships weights on the straight line from others through those that were trained, here a little
beyond them: more of what training changed. The selector stays that of --start, and with --parts extractor propagation
everything but what makes the features and the enlarged inputs.
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
    parser.add_argument("--notice", default="", help="published networks it was trained with, and their licences")
    parser.add_argument("--start", help="weights where the line begins")
    parser.add_argument("--way", type=float, default=1.0, help="how far to go on it, 1 for the trained weights")
    parser.add_argument("--parts", nargs="+", help="parts of the network that go there; the others stay at the start")
    arguments = parser.parse_args()
    trained = load_checkpoint(arguments.checkpoint)
    provenance = {**trained.provenance, "note": arguments.note}
    if arguments.notice:
        provenance["notice"] = arguments.notice
    network = trained.network
    if arguments.start:
        start = load_checkpoint(arguments.start)
        there, stays = (on_the_line(start, trained, way) for way in (arguments.way, 0.0))
        arrays = {
            name: value if arguments.parts is None or name.partition(".")[0] in arguments.parts else stays[name]
            for name, value in there.items()
        }
        network = Checkpoint(start.config, arrays, arguments.name).network
        provenance |= {"start": arguments.start, "way": arguments.way, "parts": arguments.parts or "all"}
    save_checkpoint(network, SHIPPED / f"{arguments.name}.safetensors", provenance, "float16")
    shipped = sorted(SHIPPED.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in shipped]
    (SHIPPED / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
