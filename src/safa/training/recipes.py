"""Recipes: TOML files of settings that may extend one another, and single settings from the command line.

A setting that is "default" takes back what the recipe below says about it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safa.errors import SafaError


def read_recipe(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values, on top of those of the recipe it ``extends`` (a name in the same folder).

    Raises:
        SafaError: a file that cannot be read, is not valid TOML, or extends itself.
    """
    if path.resolve() in below:
        raise SafaError(f"The recipe {path} extends itself.")
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SafaError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SafaError(f"The recipe {path} is not valid TOML: {error}.") from error
    parent = values.pop("extends", None)
    if parent is None:
        return values
    return merge(read_recipe(path.parent / f"{parent}.toml", (*below, path.resolve())), values)


def parse_overrides(lines: Sequence[str]) -> dict[str, Any]:
    """Values from lines such as ``network.channels = 32``."""
    values: dict[str, Any] = {}
    for line in lines:
        try:
            values = merge(values, tomllib.loads(line))
        except tomllib.TOMLDecodeError as error:
            raise SafaError(f"The setting '{line}' is not valid TOML; write it as network.channels=32.") from error
    return values


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, table by table."""
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def given(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without those that are "default", table by table."""
    kept = {name: value for name, value in values.items() if value != "default"}
    return {name: given(value) if isinstance(value, dict) else value for name, value in kept.items()}
