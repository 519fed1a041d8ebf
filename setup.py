"""Builds the optional native engine; everything else is in pyproject.toml.

One shared library for each instruction set, all from the headers in src/safa/engine/native. They are plain libraries
for ctypes and know nothing of Python or PyTorch. Without a C++ compiler the package installs without them. On Windows,
where there is seldom GCC or Clang and Microsoft's compiler does not know their vectors, they are compiled by Zig's
Clang, which pip brings for the build.
"""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

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


def sources_digest() -> str:
    """As ``safa.engine.library.sources_digest``, which cannot be imported here."""
    digest = hashlib.sha256()
    for file in sorted([*SOURCE.glob("*.h"), *SOURCE.glob("*.cpp")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


WINDOWS = sys.platform == "win32"


class BuildWithZig(build_ext):
    """Compiles with the Clang of the package ``ziglang``."""

    def build_extension(self, ext: Extension) -> None:
        folder = Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)
        library = Path(self.get_ext_fullpath(ext.name)).absolute()
        library.parent.mkdir(parents=True, exist_ok=True)
        compiled = folder / f"{library.stem}.o"
        compiler = [sys.executable, "-m", "ziglang", "c++"]
        try:
            # Linked apart: with a build's instructions Zig would compile its standard library anew for each of them.
            subprocess.run([*compiler, "-c", *ext.extra_compile_args, *ext.sources, "-o", str(compiled)], check=True)
            subprocess.run([*compiler, "-shared", "-s", str(compiled), "-o", str(library)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(f"{ext.name}: {error}") from error


builds = list(INSTRUCTIONS) if platform.machine().lower() in ("x86_64", "amd64") else ["baseline"]
if WINDOWS:
    builds = [build for build in builds if build != "amx"]  # the engine asks Linux alone for the matrix unit
setup(
    cmdclass={"build_ext": BuildWithZig} if WINDOWS else {},
    ext_modules=[
        Extension(
            f"safa.engine._{build}",
            [str(SOURCE / f"{build}.cpp")],
            depends=sorted(str(header) for header in SOURCE.glob("*.h")),
            extra_compile_args=[*FLAGS, *INSTRUCTIONS[build], f"-DSAFA_SOURCES={sources_digest()}"],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
        for build in builds
    ],
)
