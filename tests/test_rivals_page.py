"""What docs/rivals.md says is kept of a file is proven by the tests it names, and its recipes are commands."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from safa.errors import SafaError
from safa.evaluation.rivals import RivalCommand

PAGE = Path(__file__).parents[1] / "docs" / "rivals.md"
TEXT = PAGE.read_text()
# Cells of ours that make no promise.
UNPROVEN = {"GPU": "not measured"}


def test_each_promise_names_a_test_that_is_there() -> None:
    table = TEXT.split("## What becomes of a file")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert rows[0][1] == "`safa`"
    assert len(rows) > 15
    for feature, ours, *_ in rows[2:]:
        if UNPROVEN.get(feature) == ours:
            continue
        link = re.fullmatch(r'\[[^]]+\]\((\S+) "(\w+)"\)', ours)
        assert link, f"{feature}: {ours}"
        tree = ast.parse((PAGE.parent / link[1]).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert link[2] in names, f"{feature}: {link[1]} has no {link[2]}"


def test_recipes_have_the_form_that_evaluate_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", str)  # none of the programs has to be here
    recipes = re.findall(r"--rival ('.*?')", TEXT.split("## Recipes")[1], re.DOTALL)
    assert len(recipes) == 7
    for recipe in recipes:
        (text,) = shlex.split(recipe)
        try:
            RivalCommand.parse(text)
        except SafaError as error:
            pytest.fail(str(error))
