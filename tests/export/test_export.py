"""Networks for other programs."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from safa import cli
from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.errors import CheckFailed, SafaError
from safa.export import check, export, export_model
from safa.export.check import compare
from safa.export.export import ArchiveWriter
from safa.export.standalone_runtime import Archives, Run, Steps
from safa.export.subgraphs import parts_of
from safa.network.safa import Safa
from tests.conftest import tiny_network
from tests.engine.nets import lively_network, random_pair

KINDS = {
    "default": {"grid": "input", "blend_prior": True, "flow_prior": "dis"},
    "paper": {"extractor": "bottleneck", "blocks": 1},
    "paper grid with flow": {"flow_prior": "dis", "scales": (0.5, 0.125), "fusion": "feature"},
    "branches of their own": {"grid": "input", "scales": (1.0, 0.25), "shared_branches": False, "fusion": "image"},
    "fixed scale": {"grid": "input", "fixed_scale": 1, "extractor": "stage3"},
    "joined passes": {
        "grid": "input",
        "blend_prior": True,
        "flow_prior": "dis",
        "blocks": 1,
        "propagation": 1,
        "joined_passes": True,
        "enlarger_channels": 4,
    },
    "propagation": {"grid": "input", "blend_prior": True, "flow_prior": "dis", "blocks": 1, "propagation": 1},
}


def modules_of(network: Safa) -> Run:
    """The parts themselves, in PyTorch."""
    modules = {part.name: part.module for part in parts_of(network)}
    return lambda name, *inputs: modules[name](*inputs)


def random_tensors(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """What ``random_pair`` gives, as PyTorch wants it: ``1,channels,h,w``."""
    frame0, frame1, flows = random_pair(height, width, seed)
    first, second, forward, backward = (
        torch.from_numpy(values).permute(2, 0, 1)[None] for values in (frame0, frame1, *flows)
    )
    return first, second, (forward, backward)


def arrive_at_the_same_image(network: Safa, run: Run, height: int, width: int) -> None:
    """Drive exported parts at a size their check did not use, following their own selector."""
    frame0, frame1, prior = random_tensors(height, width)
    with torch.no_grad():
        expected = network.synthesize(network.encode(frame0, frame1, prior), 0.6)
        steps = Steps(run, network.config.to_dict(), (frame0, frame1), [prior].__getitem__)
        image, scales = steps.between(0, torch.tensor([0.6]))
    assert scales == expected.scale[0].tolist()
    torch.testing.assert_close(image, expected.image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_parts_together_are_the_network(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIZES", check.SIZES[:1])  # what the sizes are for is tested with exported parts
    network = lively_network(**settings)
    found = compare(network, parts_of(network), modules_of(network))
    assert found.largest < 1e-6


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_window_may_have_any_length(count: int) -> None:
    network = lively_network(**KINDS["propagation"])
    material = [random_tensors(16, 24, seed) for seed in range(count)]
    frames, flows = [frame for frame, _, _ in material], [prior for _, _, prior in material[1:]]
    steps = Steps(modules_of(network), network.config.to_dict(), frames, flows.__getitem__)
    with torch.no_grad():
        for place, expected in enumerate(network.encode_window(frames, flows)):
            enlarged, features = steps.frame(place)
            torch.testing.assert_close(features, expected.features)
            torch.testing.assert_close(enlarged, expected.enlarged)


@pytest.mark.parametrize("settings", [{}, KINDS["propagation"]], ids=["frames alone", "propagation"])
def test_a_part_carries_its_own_weights_only(settings: dict[str, object]) -> None:
    network = tiny_network(**settings)
    sizes = [sum(weight.numel() for weight in part.module.parameters()) for part in parts_of(network)]
    head = sum(weight.numel() for weight in network.flow_head.parameters())
    graphs = len(network.blocks) * 3
    repeated = sum(weight.numel() for weight in network.blocks.parameters()) * 2 + head * (graphs - 1)
    assert sum(sizes) == sum(weight.numel() for weight in network.parameters()) + repeated


def test_graphs_take_any_size_and_follow_the_selector(exported_onnx: Path) -> None:
    from safa.export.export import OnnxWriter

    network = load_checkpoint(exported_onnx.with_suffix(".safetensors")).network
    run = OnnxWriter().runner(exported_onnx)
    for height, width in ((8, 8), (16, 48)):
        arrive_at_the_same_image(network, run, height, width)


@pytest.mark.parametrize("kind", ["exported_onnx", "exported_stream"])
def test_the_description_fits_the_graphs(kind: str, request: pytest.FixtureRequest) -> None:
    exported: Path = request.getfixturevalue(kind)
    import onnx

    card = json.loads((exported / "model.json").read_text())
    assert sorted(path.name for path in exported.iterdir()) == sorted(
        [*card["parts"], "flow.py", "run.py", "model.json"]
    )
    assert card["weights_sha256"] == load_checkpoint(exported.with_suffix(".safetensors")).sha256
    assert card["check"]["largest_difference"] <= 1e-3
    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
    for file, tensors in card["parts"].items():
        model = onnx.load(exported / file)
        assert [entry.version for entry in model.opset_import] == [card["opset"]]
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert told["weights_sha256"] == card["weights_sha256"]
        assert json.loads(told["config"]) == card["config"]
        for side, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
            assert [tensor["name"] for tensor in tensors[side]] == [value.name for value in values]
            for tensor, value in zip(tensors[side], values, strict=True):
                kind = value.type.tensor_type
                assert tensor["shape"] == [one.dim_param or one.dim_value for one in kind.shape.dim]
                assert types[tensor["type"]] == kind.elem_type
        assert str(Path(__file__).parents[2]) not in str(model)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder "fast-torch" with the archives of "tiny.safetensors" beside it."""
    home = tmp_path_factory.mktemp("archives")
    network = lively_network(grid="input", flow_prior="dis", blocks=1, scales=(1.0, 0.5), extractor="stem")
    save_checkpoint(network, home / "tiny.safetensors")
    return export_model(home / "tiny.safetensors", home / "fast-torch", "torch").folder


def test_archives_take_any_size_and_follow_the_selector(archives: Path) -> None:
    network = load_checkpoint(archives.with_name("tiny.safetensors")).network
    arrive_at_the_same_image(network, ArchiveWriter().runner(archives), 8, 16)


def test_archives_move_to_a_device_whole(archives: Path) -> None:
    # "meta" stands for the GPU that is not here: nothing may be left behind on the CPU.
    frame, flow = torch.rand(1, 3, 16, 8, device="meta"), torch.rand(1, 2, 16, 8, device="meta")
    config = load_checkpoint(archives.with_name("tiny.safetensors")).network.config.to_dict()
    steps = Steps(Archives(archives, "meta"), config, (frame, frame), lambda place: (flow, flow))
    image, _ = steps.between(0, torch.tensor([0.5], device="meta"), scales=[1])
    assert image.shape == (1, 3, 64, 32)
    assert image.device.type == "meta"


def test_archives_hold_no_pickles(archives: Path) -> None:
    for path in archives.glob("*.pt2"):
        with zipfile.ZipFile(path) as content:
            for name in content.namelist():
                # Weights say how they are stored; sample inputs would be pickled.
                assert b'"use_pickle": true' not in content.read(name)
                assert "sample_inputs" not in name or not content.read(name)


def documented(word: str) -> str:
    """The Python program in docs/export.md in which ``word`` occurs."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if word in code)
    return code  # type: ignore[no-any-return]


def test_the_documented_way_to_run_archives(archives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archives.parent)
    names: dict[str, object] = {}
    exec(documented("move_to_device_pass"), names)
    image = names["image"]
    assert isinstance(image, torch.Tensor)
    assert image.shape == (1, 3, 352, 640)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A format that writes at once; ``error`` is added to what its block 0 gives at the coarser scale."""
    network = tiny_network(grid="input", blocks=1, scales=(1.0, 0.5))
    save_checkpoint(network, tmp_path / "tiny.safetensors")
    writer = SimpleNamespace(suffix=".part", runtime="a stand-in", opset=0, error=0.0)
    writer.write = lambda part, config, path, facts: path.write_text(part.name)

    def runner(folder: Path) -> Run:
        run = modules_of(load_checkpoint(tmp_path / "tiny.safetensors").network)

        def erring(name: str, *inputs: torch.Tensor) -> list[torch.Tensor]:
            return [value + writer.error if name == "block0_scale1" else value for value in run(name, *inputs)]

        return erring

    writer.runner = runner
    monkeypatch.setattr(export, "_writer", lambda format: writer)
    return writer


def test_a_difference_fails_and_leaves_nothing(
    stand_in: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.error = 0.1
    monkeypatch.setattr(sys, "argv", ["safa", "export", str(tmp_path / "tiny.safetensors"), "-o", str(tmp_path / "x")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "a stand-in: block0_scale1." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_only_an_earlier_export_is_replaced_and_only_when_asked(stand_in: SimpleNamespace, tmp_path: Path) -> None:
    weights, output = tmp_path / "tiny.safetensors", tmp_path / "x"
    output.mkdir()
    (output / "letter.txt").write_text("mine")
    with pytest.raises(SafaError, match="not made by"):
        export_model(weights, output, overwrite=True)
    (output / "letter.txt").rename(tmp_path / "letter.txt")
    output.rmdir()
    export_model(weights, output)
    with pytest.raises(SafaError, match="--overwrite"):
        export_model(weights, output)
    stand_in.error = 0.1
    before = (output / "model.json").read_text()
    with pytest.raises(CheckFailed):
        export_model(weights, output, overwrite=True)
    assert (output / "model.json").read_text() == before
    stand_in.error, stand_in.runtime = 0.0, "another"
    export_model(weights, output, overwrite=True)
    assert (output / "model.json").read_text() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt", "tiny.safetensors", "x"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SafaError, match="onnx or torch"):
        export_model("fast", tmp_path / "x", "coreml")
    with pytest.raises(SafaError, match="no folder"):
        export_model("fast", tmp_path / "nowhere" / "x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "safa.export.export", raising=False)
    monkeypatch.delattr("safa.export.export", raising=False)
    with pytest.raises(SafaError, match=r"needs onnx; install it with: pip install '\.\[export\]'"):
        export_model("fast", tmp_path / "x")
