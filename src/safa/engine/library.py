"""Finds and loads the compiled engine: one shared library for each instruction set, chosen by the processor's."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.machinery
import sys
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

from safa.errors import OutOfMemory, SafaError

VERSION = 6
BUILDS = ("baseline", "avx2", "avx512", "avx512bf16", "amx")
"""Builds from plain to wide; ``safa_best_build`` answers with an index of these. Older compilers leave out the last."""

BFLOAT16_BUILDS = ("avx512bf16", "amx")
"""Builds that are faster with bfloat16 than with float32, where they are the widest that the processor can run."""


def native_precision() -> str:
    """Return the precision that "auto" means for the native engine here.

    Raises:
        SafaError: the native engine was not built.
    """
    return "bfloat16" if usable_builds()[0] in BFLOAT16_BUILDS else "float32"


def arithmetic(build: str, precision: str) -> str:
    """Return the plainest build that gives the same numbers as this one."""
    if build == "baseline" or (precision == "bfloat16" and build in BFLOAT16_BUILDS):
        return build
    return "avx2"  # products are added without being rounded first


STAGES = (
    "enlarging",
    "extractor",
    "propagation",
    "first hidden",
    "selector",
    "blocks",
    "flow head",
    "decoder",
    "image fusion",
)
"""Stages that ``NativeEngine.take_seconds`` reports, as ``native/stages.h`` has it."""

_MESSAGE = 512
NO_MEMORY = 2


class Settings(ctypes.Structure):
    """``native/settings.h``."""

    _fields_ = [
        ("paper_grid", c_int32),
        ("channels", c_int32),
        ("blocks", c_int32),
        ("stages", c_int32),
        ("bottleneck", c_int32),
        ("stem_channels", c_int32),
        ("image_fusion", c_int32),
        ("feature_fusion", c_int32),
        ("scales", c_int32),
        ("factors", c_int32 * 4),
        ("fixed_scale", c_int32),
        ("shared_branches", c_int32),
        ("decoder_blocks", c_int32),
        ("blend_prior", c_int32),
        ("flow_prior", c_int32),
        ("propagation", c_int32),
        ("joined_passes", c_int32),
        ("enlarger_channels", c_int32),
        ("bfloat16", c_int32),
    ]


class Pair(ctypes.Structure):
    """``Pair`` of ``native/network.h``."""

    _fields_ = [
        ("height", c_int),
        ("width", c_int),
        ("pictures", c_void_p * 2),
        ("features", c_void_p * 2),
        ("hidden", c_void_p),
        ("prior", c_void_p * 3),
        ("still", c_void_p * 4),
        ("prepared", POINTER(c_int32)),
        ("region", c_int * 4),
    ]


class Step(ctypes.Structure):
    """``Step`` of ``native/propagation.h``."""

    _fields_ = [
        ("height", c_int),
        ("width", c_int),
        ("own", c_void_p * 2),
        ("state", c_void_p),
        ("flow", c_void_p),
    ]


class Result(ctypes.Structure):
    """``Result`` of ``native/picture.h``."""

    _fields_ = [("image", c_void_p), ("fused", c_void_p), ("flow", c_void_p), ("mask", c_void_p)]


_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "safa_sources": (c_char_p, []),
    "safa_lanes": (c_int, []),
    "safa_best_build": (c_int, []),
    "safa_create": (
        c_void_p,
        [
            *(POINTER(Settings), c_int, POINTER(c_char_p), POINTER(c_void_p), POINTER(c_int64)),
            *(POINTER(c_int), c_char_p, c_int),
        ],
    ),
    "safa_destroy": (None, [c_void_p]),
    "safa_set_threads": (c_int, [c_void_p, c_int, c_char_p, c_int]),
    "safa_threads": (c_int, [c_void_p]),
    "safa_workspace": (c_int64, [c_void_p]),
    "safa_release_workspace": (None, [c_void_p]),
    "safa_take_seconds": (None, [c_void_p, POINTER(c_double)]),
    "safa_encode_frame": (
        c_int,
        [c_void_p, c_void_p, c_int, c_int, POINTER(c_int64), c_void_p, c_void_p, c_char_p, c_int],
    ),
    "safa_extract": (
        c_int,
        [c_void_p, c_void_p, c_int, c_int, POINTER(c_int64), c_void_p, c_char_p, c_int],
    ),
    "safa_carry": (c_int, [c_void_p, POINTER(Step), c_void_p, c_void_p, c_char_p, c_int]),
    "safa_finish_frame": (
        c_int,
        [c_void_p, c_void_p, c_int, c_int, POINTER(c_int64), c_void_p, c_void_p, c_char_p, c_int],
    ),
    "safa_show": (c_int, [c_void_p, c_void_p, c_int, c_int, c_void_p, c_char_p, c_int]),
    "safa_encode_pair": (c_int, [c_void_p, c_int, c_int, c_void_p, c_void_p, c_void_p, c_char_p, c_int]),
    "safa_synthesize": (
        c_int,
        [
            *(c_void_p, POINTER(Pair), c_float, POINTER(c_int32)),
            *(POINTER(Result), POINTER(c_int32), c_void_p, c_char_p, c_int),
        ],
    ),
    "safa_store": (
        c_int,
        [c_void_p, c_void_p, c_int, c_int, c_int64, c_void_p, c_int64, c_int64, c_int, c_char_p, c_int],
    ),
    "safa_convolve": (
        c_int,
        [
            *(c_void_p, c_int, c_int, c_int, c_void_p, c_void_p, c_void_p, c_int, c_int, c_int),
            *(c_int, c_void_p, c_void_p, c_int, c_char_p, c_int),
        ],
    ),
    "safa_warp": (c_int, [c_void_p, c_int, c_int, c_int, c_void_p, c_void_p, c_char_p, c_int]),
}


def find(build: str) -> Path | None:
    """Return the path of the library of one of ``BUILDS``, beside this file."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).parent / f"_{build}{suffix}"
        if path.is_file():
            return path
    return None


@cache
def load(build: str) -> ctypes.CDLL:
    """Load one of ``BUILDS``.

    Raises:
        SafaError: it was not built, cannot be loaded or belongs to another version of this package.
    """
    path = find(build)
    if path is None:
        cause = "there was no usable C++ compiler (GCC or Clang)", "Install one and reinstall safa-video"
        if sys.platform == "win32":
            cause = "pip's compiler for it (ziglang) failed", "Reinstall safa-video with pip install -v to see why"
        reason, remedy = cause
        raise SafaError(f"The native engine ({build}) was not built: {reason} when safa was installed. {remedy}.")
    try:
        library = ctypes.CDLL(str(path))
        version = library.safa_version()
    except (OSError, AttributeError) as error:
        raise SafaError(f"The native engine {path.name} cannot be loaded: {error}.") from error
    if version != VERSION:
        raise SafaError(f"The native engine {path.name} is of another version; reinstall safa-video.")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    built, here = library.safa_sources().decode(), sources_digest(Path(__file__).parent / "native")
    if built and here and built != here:
        raise SafaError(
            f"The native engine {path.name} was compiled from other sources than those beside it; install safa again."
        )
    return library


def sources_digest(folder: Path) -> str:
    """Return a digest of the engine's sources, as ``setup.py`` compiles it in; "" where they are not installed."""
    digest = hashlib.sha256()
    files = sorted([*folder.glob("*.h"), *folder.glob("*.cpp")])
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16] if files else ""


@cache
def usable_builds() -> tuple[str, ...]:
    """Return the ``BUILDS`` that are installed and that this processor can run, the fastest first.

    Raises:
        SafaError: there is none, with the reason.
    """
    builds = list(reversed(BUILDS[: load("baseline").safa_best_build() + 1]))
    if builds[0] == "amx":  # an Intel processor: without AMX its products of bfloat16 are slower than those of float32
        builds.remove("avx512bf16")
        builds.insert(builds.index("avx512") + 1, "avx512bf16")
    return tuple(build for build in builds if find(build) is not None)


def call(function: ctypes._FuncPointer, *arguments: object) -> None:
    """Call a function of the library that reports failure through its last two arguments."""
    message = ctypes.create_string_buffer(_MESSAGE)
    status = function(*arguments, message, _MESSAGE)
    if status == NO_MEMORY:
        raise OutOfMemory("There is not enough memory for the native engine.")
    if status:
        raise SafaError(f"The native engine failed: {message.value.decode(errors='replace')}.")
