"""The page in a real browser: jobs from drop to download by mouse and by keyboard, one that is cancelled, some that are
refused, a killed server, a password.
"""

from __future__ import annotations

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
from tests.web.making import tiny_weights, write_picture

pytest.importorskip("fastapi", reason="the page needs the extra 'web'")
playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by Playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

SAMPLE = Path(__file__).parents[2] / "samples" / "hens.mp4"
PATIENCE = 180_000  # milliseconds; only a broken page takes so long


class Running:
    """``safa serve`` as a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, "0"
        tiny_weights(folder)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "safa", "serve", "--no-open", "--port", self.port]
        command += ["--folder", str(self.folder / "jobs"), "--weights", str(self.folder / "tiny.safetensors")]
        command += ["--max-size", "100KB", "--max-seconds", "5", "--device", "cpu", *self.options]
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
    own = (server.address, server.address.replace("127.0.0.1", "localhost"))
    page.on("request", lambda request: None if request.url.startswith(own) else strangers.append(request.url))
    page.on("pageerror", lambda error: mishaps.append(str(error)))
    page.on("console", lambda message: mishaps.append(message.text) if is_policy(message.text) else None)
    page.goto(server.address)
    page.wait_for_selector(".welcome")
    yield page
    context.close()
    assert strangers == []
    assert mishaps == []


def is_policy(message: str) -> bool:
    """Whether a message of the console is of a breach of the page's policy."""
    return "Content Security Policy" in message or "Trusted" in message


def give(page: Any, *files: Path) -> None:
    page.set_input_files("input[type=file]", [str(path) for path in files])


def start(page: Any) -> None:
    page.click("#start")
    page.wait_for_selector(".zone")


def cut(page: Any) -> float:
    """Percent of the frame that are shown as before."""
    value = page.evaluate("getComputedStyle(document.querySelector('.frame')).getPropertyValue('--cut')")
    return float(value.strip("%"))


def test_from_drop_to_download(page: Any, tmp_path: Path) -> None:
    give(page, SAMPLE)
    page.wait_for_selector("text=160 x 90")
    page.get_by_label("30 fps").check()
    page.locator(".forecast", has_text="30 a second").wait_for()
    page.get_by_label("2x smoother").check()
    page.locator(".forecast", has_text="25 a second").wait_for()
    start(page)
    page.wait_for_selector(".job[data-state=done]")
    page.wait_for_selector(".stage.moving")
    box = page.locator(".frame").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert cut(page) == pytest.approx(25, abs=1)
    page.get_by_text("Side by side").click()
    before, after = (page.locator(f"video.{side}").bounding_box() for side in ("before", "after"))
    assert before["x"] + before["width"] <= after["x"]
    assert after["width"] == pytest.approx(box["width"] / 2, abs=4)
    with page.expect_download() as download:
        page.click(".title a.download")
    assert download.value.suggested_filename == "hens-4x.mp4"
    download.value.save_as(tmp_path / "result.mp4")
    frames = video_frames(tmp_path / "result.mp4")
    assert (len(frames), frames[0][1].shape) == (63, (360, 640, 3))


NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, progress")]
    .filter((control) => control.checkVisibility())
    .filter((control) => !control.labels?.length && !control.ariaLabel && !control.textContent.trim())
    .map((control) => control.outerHTML)"""


def test_pictures_are_made_with_the_keyboard_alone(page: Any, tmp_path: Path) -> None:
    pictures = [write_picture(tmp_path / f"{shade}.png", shade) for shade in (20, 90)]
    page.focus(".zone")
    assert page.evaluate("document.activeElement.matches('button.zone')")
    # The dialog is the browser's own, and opening it is not always told to what steers the browser.
    give(page, *pictures)
    page.wait_for_selector(".forecast")
    assert page.locator("#try").is_hidden()
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.activeElement.value") == "7"  # the first group of options, "Between the two"
    page.keyboard.press("ArrowLeft")
    page.locator(".forecast", has_text="and 3 between").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector(".job[data-state=done]")
    page.wait_for_selector(".loop img")
    assert page.evaluate(NAMELESS) == []
    page.focus(".cut")
    for key, percent in (("ArrowLeft", 48), ("PageUp", 58), ("Home", 0), ("ArrowLeft", 0), ("End", 100)):
        page.keyboard.press(key)
        assert cut(page) == percent
    assert page.get_attribute(".cut", "aria-valuetext") == "100 % before"
    with page.expect_download() as download:
        page.focus(".title a.download")
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "20-between.zip"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(page: Any, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    give(page, SAMPLE)
    page.wait_for_selector(".forecast")
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shade == {"light": "rgb(248, 250, 252)", "dark": "rgb(11, 17, 32)"}[scheme]
    page.get_by_label("Take another file").click()
    assert page.evaluate("document.activeElement.className") == "zone"


def test_a_second_is_tried_and_the_upload_stays(page: Any) -> None:
    give(page, SAMPLE)
    page.wait_for_selector(".forecast")
    page.click("#try")
    page.wait_for_selector(".job[data-state=done]")
    page.wait_for_selector(".trial video")
    page.evaluate(
        """() => new Promise((ready) => {
            const video = document.querySelector(".trial video");
            if (video.readyState > 1) ready();
            else video.addEventListener("loadeddata", ready);
        })"""
    )
    assert "whole file: about" in page.inner_text(".trial .table")
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
    page.click("button[data-action=delete]")
    page.wait_for_selector(".welcome")


def test_a_refusal_says_why(page: Any, tmp_path: Path) -> None:
    for name, content, sentence in (
        ("large.mp4", b"x" * 120_000, "large.mp4 is 120 KB; this server takes at most 100 KB."),
        ("letter.mp4", b"not a film " * 99, "letter.mp4 is not a video or picture that can be read"),
        ("<b>{{x}}${1}.mp4", b"nor this", "<b>{{x}}${1}.mp4 is not a video or picture"),
        ("empty.mp4", b"", "empty.mp4 is empty."),
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
    page.locator("#connection").wait_for()
    server.start()
    page.locator("#connection").wait_for(state="hidden")
    page.wait_for_selector(".chosen")
    page.reload()
    page.wait_for_selector(".chosen")
    page.locator(".job[data-state=done]").nth(1).wait_for()


def test_a_link_from_another_site_finds_the_jobs(page: Any, server: Running) -> None:
    """Browsers follow it without cookies of SameSite=Strict."""
    give(page, SAMPLE)
    page.wait_for_selector(".forecast")
    cookies = page.context.cookies()
    page.evaluate(
        "url => { document.body.replaceChildren(); location = url; }", server.address.replace("127.0.0.1", "localhost")
    )
    page.wait_for_url("http://localhost:*/")
    page.evaluate("url => { location = url; }", server.address)
    page.wait_for_selector(".chosen")
    assert [one for one in page.context.cookies() if one["domain"] == "127.0.0.1"] == cookies


def test_the_password_is_asked_for_once(chromium: Any, tmp_path: Path) -> None:
    running = Running(tmp_path, "--password", "open sesame")
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(running.address)
    for password, awaited in (("wrong", "text=That is not the password."), ("open sesame", ".zone")):
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        page.wait_for_selector(awaited)
    page.goto(running.address.replace("127.0.0.1", "localhost"))  # another site, where nobody is logged in
    page.get_by_label("Password").wait_for()
    page.evaluate("url => { location = url; }", running.address)
    page.wait_for_selector(".zone")
    context.close()
    assert running.end() == 0
