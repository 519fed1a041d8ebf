"""Write docs/api.md from the docstrings of the public names: python scripts/write_api.py"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path

import safa

TARGET = Path(__file__).parents[1] / "docs" / "api.md"
EXAMPLE = """\
```python
import safa

upscaler = safa.load()
(middle,) = upscaler.between(first, second, times=[0.5])  # arrays H,W,3 RGB in, 4H,4W,3 out
for picture in upscaler.stream(frames, rate=2):
    ...
report = safa.upscale("in.mp4", "out.mp4", rate=2)
```"""


def api_page() -> str:
    """The whole page."""
    parts = ["# Python API", "", "Written by `scripts/write_api.py` from the docstrings; do not edit.", "", EXAMPLE, ""]
    parts += ["Everything in the package's `safa` namespace:", ""]
    parts += [f"- [`{name}`](#safa{name.lower()})" for name in safa.__all__]
    for name in safa.__all__:
        parts += ["", f"## `safa.{name}`", "", *described(getattr(safa, name), name)]
    return "\n".join(parts) + "\n"


def described(thing: object, name: str) -> list[str]:
    """Signature and text of a function, or of a class with its fields and methods."""
    if not inspect.isclass(thing):
        return [*signature(thing, name), "", *text(thing)]
    lines = text(thing)
    if dataclasses.is_dataclass(thing):
        lines += ["", "**Fields**", "", *fields(thing)]
    elif not issubclass(thing, Exception):
        lines = [*signature(thing, name), "", *lines]
    for method, function in vars(thing).items():
        function = getattr(function, "__func__", function)
        if method.startswith("_") or method == "forward" or not (inspect.isfunction(function) and function.__doc__):
            continue
        lines += ["", f"### `{name}.{method}`", "", *signature(function, method), "", *text(function)]
    return lines


class Bare:
    """An annotation that is printed as it was written, without quotes."""

    def __init__(self, annotation: object) -> None:
        self.annotation = annotation

    def __repr__(self) -> str:
        return str(self.annotation)


def signature(thing: object, name: str) -> list[str]:
    """Return the call as a block of code; one argument a line where it is long."""
    seen = inspect.signature(thing)  # type: ignore[arg-type]
    bare = [one.replace(annotation=Bare(one.annotation)) for one in seen.parameters.values() if one.name != "self"]
    bare = [one for one in bare if one.name != "cls"]
    result = "" if seen.return_annotation in ("None", seen.empty) else f" -> {seen.return_annotation}"
    call = f"{name}{seen.replace(parameters=bare, return_annotation=seen.empty)}{result}"
    if len(call) > 100:
        arguments = [str(one) for one in bare]
        if any(one.kind is one.KEYWORD_ONLY for one in bare):
            arguments.insert([one.kind is one.KEYWORD_ONLY for one in bare].index(True), "*")
        call = "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){result}"])
    return ["```python", call, "```"]


def text(thing: object) -> list[str]:
    """A docstring as Markdown: sections in bold, their entries as lists."""
    return [
        f"**{line[:-1]}**\n" if line in ("Args:", "Returns:", "Raises:", "Attributes:") else line
        for line in markdown(inspect.getdoc(thing) or "").splitlines()
    ]


def markdown(source: str) -> str:
    """Code in single backquotes, indented entries ``name: text`` as a list."""
    source = source.replace("``", "`")
    source = re.sub(r"^    (\w[\w, *]*): ", r"- `\1`: ", source, flags=re.MULTILINE)
    return re.sub(r"^ {8}", "  ", re.sub(r"^    (?=\S)", "", source, flags=re.MULTILINE), flags=re.MULTILINE)


def fields(thing: type) -> list[str]:
    """The fields of a dataclass with their types, defaults and texts."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(tree, ast.ClassDef)
    lines = []
    for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        default = f" = {ast.unparse(statement.value)}" if statement.value is not None else ""
        if "field(" in default:
            default = ""
        said = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            said = ": " + " ".join(markdown(inspect.cleandoc(str(following.value.value))).split())
        lines.append(f"- `{statement.target.id}: {ast.unparse(statement.annotation)}{default}`{said}")
    return lines


if __name__ == "__main__":
    TARGET.write_text(api_page())
