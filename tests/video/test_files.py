"""Files appear whole under their names, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from safa.files import atomic_write


def test_a_file_is_replaced_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic_write(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
