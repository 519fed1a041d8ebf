"""Builds the optional native engine; everything else is in pyproject.toml.

One shared library for each instruction set, all from the headers in src/safa/engine/native. They are plain libraries
for ctypes and know nothing of Python or PyTorch. Without a C++ compiler the package installs without them.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup

FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-g0",
]
INSTRUCTIONS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"],
}
INSTRUCTIONS["avx512bf16"] = [*INSTRUCTIONS["avx512"], "-mavx512bf16"]
INSTRUCTIONS["amx"] = [*INSTRUCTIONS["avx512bf16"], "-mamx-tile", "-mamx-bf16"]
SOURCE = Path("src/safa/engine/native")

builds = list(INSTRUCTIONS) if platform.machine().lower() in ("x86_64", "amd64") else ["baseline"]
setup(
    ext_modules=[
        Extension(
            f"safa.engine._{build}",
            [str(SOURCE / f"{build}.cpp")],
            depends=sorted(str(header) for header in SOURCE.glob("*.h")),
            extra_compile_args=[*FLAGS, *INSTRUCTIONS[build]],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
        for build in builds
    ]
)
