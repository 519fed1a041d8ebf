"""The page in a real browser: a job from drop to download, one that is cancelled, some that are refused, a killed
server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.media import video_frames
from tests.web.making import tiny_weights

pytest.importorskip("gradio", reason="the page needs the extra 'web'")
playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by Playwright")
Error = playwright.Error
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

SAMPLE = Path(__file__).parents[2] / "samples" / "hens.mp4"
PATIENCE = 180_000  # milliseconds; only a broken page takes so long


class Running:
    """``safa serve`` as a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, "0"
        tiny_weights(folder)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "safa", "serve", "--no-open", "--port", self.port]
        command += ["--folder", str(self.folder / "jobs"), "--weights", str(self.folder / "tiny.safetensors")]
        command += ["--max-size", "100KB", "--max-seconds", "5", "--device", "cpu"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"SAFA_DEBUG": ""})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = re.search(r"http://127\.0\.0\.1:(\d+)/", line)[0]  # type: ignore[index]
        self.port = self.address.rsplit(":", 1)[1].strip("/")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("browser"))
    yield running
    assert running.end() == 0


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(server: Running, chromium: Any) -> Iterator[object]:
    """A browser nobody knows yet; what it asks of other hosts, and errors in our scripts, are failures."""
    context = chromium.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    strangers: list[str] = []
    mishaps: list[str] = []
    own = (server.address, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else strangers.append(request.url))
    page.on("pageerror", lambda error: mishaps.append(str(error)))
    page.goto(server.address)
    page.wait_for_selector(".zone")
    yield page
    context.close()
    assert strangers == []
    assert mishaps == []


def give(page: Any, *files: Path) -> None:
    page.set_input_files("input[type=file]", [str(path) for path in files])


def start(page: Any) -> None:
    page.wait_for_selector(".forecast")
    page.click("#start")
    page.wait_for_selector(".zone")


def test_from_drop_to_download(page: Any, tmp_path: Path) -> None:
    give(page, SAMPLE)
    page.wait_for_selector("text=160 x 90")
    start(page)
    page.wait_for_selector(".job[data-state=done]")
    page.wait_for_selector(".stage.moving")
    box = page.locator(".frame").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    cut = page.evaluate("getComputedStyle(document.querySelector('.frame')).getPropertyValue('--cut')")
    assert float(cut.strip("%")) == pytest.approx(25, abs=2)
    with page.expect_download() as download:
        page.click(".title a.download")
    assert download.value.suggested_filename == "hens-4x.mp4"
    download.value.save_as(tmp_path / "result.mp4")
    frames = video_frames(tmp_path / "result.mp4")
    assert (len(frames), frames[0][1].shape) == (63, (360, 640, 3))


def test_a_second_is_tried_and_the_upload_stays(page: Any) -> None:
    give(page, SAMPLE)
    page.wait_for_selector(".forecast")
    page.click("#try")
    page.wait_for_selector(".job[data-state=done]")
    page.wait_for_selector(".trial video")
    page.wait_for_function("document.querySelector('.trial video').readyState > 1")
    assert "whole file: about" in page.inner_text(".trial .forecast")
    assert not page.locator(".swipe").is_visible()
    page.set_viewport_size({"width": 360, "height": 740})  # a phone: the clip is wider, the page is not
    assert page.locator(".swipe").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 720})
    assert page.locator("#start").is_visible()
    with page.expect_download() as download:
        page.click(".title a.download")
    assert download.value.suggested_filename == "hens-preview.mp4"
    picture = page.request.get(page.locator(".trial a[target=_blank]").evaluate("link => link.href"))
    assert picture.headers["content-type"] == "image/png"


def test_a_running_job_is_cancelled(page: Any) -> None:
    give(page, SAMPLE)
    page.get_by_label("8x smoother").check()
    start(page)
    page.click(".job[data-state=running] button[data-action=cancel]")
    page.wait_for_selector(".job[data-state=cancelled]")
    page.click("button[data-action=remove]")
    page.wait_for_selector(".welcome")


def test_a_refusal_says_why(page: Any, tmp_path: Path) -> None:
    for name, content, sentence in (
        ("large.mp4", b"x" * 120_000, "large.mp4 is 120 KB; this server takes at most 100 KB."),
        ("letter.mp4", b"not a film " * 99, "letter.mp4 is not a video or picture that can be read"),
        ("<b>{{x}}${1}.mp4", b"nor this", "<b>{{x}}${1}.mp4 is not a video or picture"),
    ):
        (tmp_path / name).write_bytes(content)
        give(page, tmp_path / name)
        page.locator(".problem", has_text=sentence).wait_for()


def test_two_jobs_survive_a_killed_server_and_a_reload(page: Any, server: Running) -> None:
    for _ in range(2):
        give(page, SAMPLE)
        start(page)
    give(page, SAMPLE)
    page.wait_for_selector(".forecast")
    page.wait_for_selector(".job[data-state=running] .bar")
    server.kill()
    server.start()
    with contextlib.suppress(Error):  # the page may be reloading already, as it does when its server comes back
        page.reload()
    page.wait_for_selector(".chosen")
    page.wait_for_function("document.querySelectorAll('.job[data-state=done]').length == 2")
