"""``safa serve``: what it refuses before it serves."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from safa import cli
from tests.web.making import tiny_weights


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said on standard error, in one line, with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["safa", "serve", "--no-open", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    return err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "pip install '.[web]' in the folder with safa's source" in refusal(monkeypatch, capsys)


def test_what_cannot_be_served_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("fastapi", reason="the page needs the extra 'web'")
    common = ("--folder", tmp_path / "jobs", "--weights", tiny_weights(tmp_path))
    assert "--password, or --public" in refusal(monkeypatch, capsys, *common, "--host", "0.0.0.0")
    assert "--keep must look like 24h" in refusal(monkeypatch, capsys, *common, "--keep", "soon")
    assert "--max-size must look like 500MB" in refusal(monkeypatch, capsys, *common, "--max-size", "0")
    assert "neither a file nor a shipped name" in refusal(monkeypatch, capsys, "--weights", "nonsense")
    assert "cannot be used" in refusal(monkeypatch, capsys, *common, "--folder", __file__)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 cannot be used" in refusal(monkeypatch, capsys, *common, "--port", port)
    assert not (tmp_path / "jobs").exists()
