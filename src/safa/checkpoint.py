"""Network files: configuration, weights and provenance in one safetensors file.

Reading one needs NumPy alone: PyTorch is loaded when its module is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from safa.errors import SafaError, needs_pytorch
from safa.files import atomic_write
from safa.network.config import SafaConfig
from safa.network.parameters import BUFFERS, Tensors, arrays_of, fill

if TYPE_CHECKING:
    from safa.network.safa import Safa

FORMAT = "safa/1"
SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "fast"
SHARPENED = {"fast": "vivid", "real": "vivid"}
"""Shipped weights, and those of the same layout that were trained to look sharp. Names such as "real@0.3" mean what
lies between the two, here three tenths of the way."""


class Checkpoint:
    """A network and what its file says about it.

    Attributes:
        config: its layout.
        tensors: its weights in float32.
        name: of the shipped weights, or the stem of the file.
        sha256: digest of the whole file, hexadecimal.
        provenance: free JSON: how the weights came about.
    """

    def __init__(
        self,
        config: SafaConfig,
        tensors: Tensors,
        name: str,
        sha256: str = "",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.tensors, self.name, self.sha256 = config, tensors, name, sha256
        self.provenance = provenance or {}
        self._network: Safa | None = None

    @classmethod
    def of(cls, network: Safa, name: str) -> Checkpoint:
        """Make a checkpoint of a module: a copy of its weights, and the module itself as ``network``."""
        made = cls(network.config, arrays_of(network), name)
        made._network = network
        return made

    @property
    def network(self) -> Safa:
        """Return the weights as a module in evaluation mode on the CPU, the same one at each call.

        Raises:
            SafaError: PyTorch is not installed, or the tensors do not fit the configuration.
        """
        if self._network is None:
            with needs_pytorch("These weights as a PyTorch module"):
                from safa.network.safa import Safa
            network = Safa(self.config)
            fill(network, self.tensors, self.name)
            self._network = network.eval()
        return self._network

    @property
    def parameters(self) -> int:
        """Number of learned parameters, without the statistics of batch normalisation."""
        return sum(tensor.size for name, tensor in self.tensors.items() if not name.endswith(BUFFERS))


def shipped_names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def load_checkpoint(name_or_path: str | Path = DEFAULT) -> Checkpoint:
    """Read a network.

    Args:
        name_or_path: the name of shipped weights (their SHA-256 is checked), a name of ``SHARPENED`` with "@" and the
            amount of detail from 0 to 1, or a file made by this package.

    Raises:
        SafaError: no such name or file, a damaged file, or a file of another kind.
    """
    text = str(name_or_path)
    name, _, detail = text.rpartition("@")
    if name in SHARPENED and not Path(text).exists():
        return _sharpened(name, parse_detail(detail))
    shipped = text in shipped_names()
    path = SHIPPED / f"{text}.safetensors" if shipped else Path(text)
    if (path / "model.json").is_file():
        raise SafaError(
            f"{path} is an exported network, which 'safa evaluate' can measure; give the weights it was made from."
        )
    if not path.is_file():
        known = ", ".join(shipped_names()) or "none"
        raise SafaError(f"There are no weights '{text}': it is neither a file nor a shipped name ({known}).")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SafaError(f"The weights {path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(data).hexdigest()
    if shipped and _expected_digests().get(path.name) != digest:
        raise SafaError(f"The shipped weights {path.name} are damaged (SHA-256 differs); reinstall safa-video.")
    metadata, tensors = _parse(data, path)
    if metadata.get("format") != FORMAT:
        raise SafaError(
            f"{path} is not a SAFA network; use weights made by 'safa train', or 'safa import-checkpoint' for the "
            "authors' flownet.pkl."
        )
    if metadata.get("digest") != _tensor_digest(tensors):
        raise SafaError(f"The weights {path} are damaged (their content does not match its digest); get them again.")
    try:
        config = SafaConfig.from_dict(json.loads(metadata["config"]))
        provenance = json.loads(metadata.get("provenance", "{}"))
        if not isinstance(provenance, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SafaError(f"The weights {path} carry an unreadable configuration; get them again.") from error
    exact = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    return Checkpoint(config, exact, text if shipped else path.stem, digest, provenance)


def with_detail(weights: str, detail: float) -> str:
    """Return the name of ``weights`` at a strength of detail from 0 to 1.

    Raises:
        SafaError: there are no sharper ones for them.
    """
    if weights not in SHARPENED:
        known = " and ".join(SHARPENED)
        raise SafaError(f"The weights {weights} cannot be given more detail, only {known} can; leave out --detail.")
    return f"{weights}@{parse_detail(detail):g}"


def parse_detail(detail: str | float) -> float:
    """Return the strength of detail, from 0 to 1; raises SafaError for anything else."""
    try:
        amount = float(detail)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= 1:
        raise SafaError(f"The detail is {detail!r}; it must be a number from 0 (as measured best) to 1 (sharpest).")
    return amount


def _sharpened(name: str, detail: float) -> Checkpoint:
    """Every weight that far on the straight line from ``name`` to what is sharper."""
    plain, sharp = load_checkpoint(name), load_checkpoint(SHARPENED[name])
    if detail == 0:
        return plain
    between = on_the_line(plain, sharp, detail)
    digest = hashlib.sha256(f"{plain.sha256} {sharp.sha256} {detail!r}".encode()).hexdigest()
    provenance = {"from": [plain.name, sharp.name], "detail": detail}
    return Checkpoint(plain.config, between, f"{name}@{detail:g}", digest, provenance)


def on_the_line(start: Checkpoint, end: Checkpoint, way: float) -> Tensors:
    """Interpolate linearly between the weights ``start`` (at 0) and ``end`` (at 1)."""
    # The selector decides what is computed; it is not what makes a picture sharp.
    return {
        key: value if key.startswith("selector.") else value + np.float32(way) * (end.tensors[key] - value)
        for key, value in start.tensors.items()
    }


def save_checkpoint(
    network: Safa, path: str | Path, provenance: Mapping[str, Any] | None = None, dtype: str = "float32"
) -> str:
    """Write ``network`` to ``path`` atomically and return the file's SHA-256.

    Args:
        dtype: how numbers are stored, "float32" or "float16", which halves the file.
    """
    tensors = {name: tensor.astype(dtype) for name, tensor in arrays_of(network).items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(network.config.to_dict()),
        "provenance": json.dumps(dict(provenance or {})),
        "digest": _tensor_digest(tensors),
    }
    data = safetensors.numpy.save(tensors, metadata)
    path = Path(path)
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise SafaError(f"The weights cannot be written to {path}: {error.strerror}.") from error
    return hashlib.sha256(data).hexdigest()


def _parse(data: bytes, path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header.get("__metadata__") or {}), tensors
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SafaError(f"{path} is not a readable safetensors file; it may be damaged or of another kind.") from error


def _tensor_digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        # The types' names are PyTorch's, in which the first files were written.
        digest.update(f"{name} torch.{tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def _expected_digests() -> dict[str, str]:
    """``SHA256SUMS`` beside the weights, as ``sha256sum`` writes it."""
    lines = (SHIPPED / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())}
