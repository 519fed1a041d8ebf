"""The house stays in order: imports go down the floors only, and the public names are the ones promised."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import safa

SOURCE = Path(safa.__file__).parent
# Lower floors first; files of one floor may import earlier ones of the same floor.
FLOORS = [
    ["errors", "files", "formatting"],
    ["network"],
    ["checkpoint", "metrics", "engine", "video", "data"],
    ["upscaler", "training", "export", "evaluation", "bench"],
    ["options"],
    ["jobs", "cluster", "vapoursynth"],
    ["cli", "web", "__main__", "__init__"],
]
FLOOR = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def imported_parts(path: Path) -> set[str]:
    """First components below ``safa`` of everything a file imports, also inside functions."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("safa.")}
    return parts


def test_imports_go_down_the_floors() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        wrong += [
            f"{path.relative_to(SOURCE)} imports {other}"
            for other in imported_parts(path)
            if FLOOR[other] > FLOOR[part]
        ]
    assert not wrong


def test_nothing_private_of_other_packages_is_imported() -> None:
    """It moves without notice: NumPy's did between 1 and 2."""
    private = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            foreign = [name for name in names if not name.startswith("safa.")]
            private += [f"{path.name}: {name}" for name in foreign if any(p.startswith("_") for p in name.split("."))]
    assert not private


def test_video_knows_nothing_of_torch() -> None:
    assert not [path for path in (SOURCE / "video").rglob("*.py") if "import torch" in path.read_text()]


def test_nobody_is_told_to_install_a_name_that_is_not_ours_yet() -> None:
    """The distribution is on no package index: whatever comes under its name from there is somebody else's."""
    root = SOURCE.parents[1]
    told = [*SOURCE.rglob("*.py"), *(root / "docs").glob("*.md"), root / "README.md"]
    assert not [path for path in told if re.search(r"pip install\b.*\bsafa-video", path.read_text())]


def test_public_names() -> None:
    assert sorted(safa.__all__) == safa.__all__
    assert all(getattr(safa, name).__name__ == name for name in safa.__all__)


def test_help_does_not_load_torch() -> None:
    code = "import sys, safa.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ``safa.vapoursynth.upscale`` takes clips where ``safa.upscale`` takes files.
# ``load`` of the engine's shared library is beside ``safa.load``, which gives an upscaler.
# ``export/run.py`` is copied to where this package is not, and has an ``Array`` of its own.
SHARED_NAMES = {"load", "Array", "upscale"}


def public_names(path: Path) -> set[str]:
    """Classes, functions and types of a module; no constants, no type variables."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and "TypeVar(" not in ast.unparse(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name) and not target.id.isupper()}
    return {name for name in names if not name.startswith("_")}


def test_no_two_public_things_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for name in public_names(path) - SHARED_NAMES:
            places.setdefault(name, []).append(str(path.relative_to(SOURCE)))
    assert not {name: files for name, files in places.items() if len(files) > 1}


def docstrings(path: Path) -> list[str]:
    """Return the docstrings of a module, its classes, its functions and its attributes."""
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            for attribute, text in itertools.pairwise(node.body):
                if isinstance(attribute, ast.Assign | ast.AnnAssign) and isinstance(text, ast.Expr):
                    found.append(text.value.value if isinstance(text.value, ast.Constant) else None)
    return [text for text in found if isinstance(text, str)]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    odd = re.compile(r"(What|How|Of|As|The same|Whether|When|Where|Those|For|From|In|With)\b")
    paths = [*SOURCE.rglob("*.py"), *(SOURCE.parents[1] / "scripts").glob("*.py")]
    wrong = [f"{path.name}: {text.splitlines()[0]}" for path in paths for text in docstrings(path) if odd.match(text)]
    assert not wrong


def test_training_does_not_use_evaluation() -> None:
    assert not [path.name for path in (SOURCE / "training").glob("*.py") if "evaluation" in imported_parts(path)]


def test_video_files_import_only_those_listed_above_them() -> None:
    folder = SOURCE / "video"
    listed = re.findall(r"^    (\w+) ", ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "", re.M)
    assert sorted(listed) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    wrong = []
    for number, name in enumerate(listed):
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            package, _, module = node.module.removeprefix("safa.").partition(".")
            if package == "video":
                used = {module} if module else {alias.name for alias in node.names}
                wrong += [f"{name} imports {other}" for other in used if other not in listed[:number]]
    assert not wrong
