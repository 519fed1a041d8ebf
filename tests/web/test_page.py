"""Page and stylesheet: nothing that the policy forbids, and colours that can be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra 'web'")

from safa.web import server as web
from tests.web.making import Server

STYLE = (Path(web.__file__).parent / "static" / "style.css").read_text()


class Markup(HTMLParser):
    """Everything in a page that a strict policy forbids or that is from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.forbidden.append(tag)
        self.forbidden += [name for name in values if name == "style" or name.startswith("on")]
        links = [values[name] for name in ("src", "href", "action") if name in values]
        self.forbidden += [link for link in links if link and not link.startswith(("/static/", "/login", "#"))]


@pytest.mark.parametrize("password", [None, "open sesame"])
def test_pages_have_nothing_inline_and_nothing_from_elsewhere(tmp_path: Path, password: str | None) -> None:
    page = Server(tmp_path, tmp_path / "tiny.safetensors", password=password).client().get("/").text
    assert page.startswith("<!doctype html>")
    assert ("password" in page) == (password is not None)
    assert Markup(page).forbidden == []


def test_names_of_weights_are_escaped(tmp_path: Path) -> None:
    client = Server(tmp_path, tmp_path / "a.safetensors", more={"<b>": "b.safetensors"}).client()
    assert "<span>&lt;b&gt;</span>" in client.get("/").text


def test_nothing_is_fetched_by_the_stylesheet() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def luminance(colour: str) -> float:
    """Relative luminance of "#rgb" or "#rrggbb" by the WCAG's formula."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_focus_can_be_seen(theme: str) -> None:
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block)) for block in STYLE.split(":root {")[1:3])
    colours = light if theme == "light" else light | dark
    texts = {
        "text": ("ground", "panel", "sunken"),
        "quiet": ("ground", "panel", "sunken"),
        "problem": ("panel", "ground"),
    }
    texts |= {"tint-text": ("tint",)}
    assert {(text, ground) for text, grounds in texts.items() for ground in grounds} == {
        (text, ground)
        for text, grounds in texts.items()
        for ground in grounds
        if contrast(colours[text], colours[ground]) >= 4.5
    }
    for button in ("accent", "accent-hover"):
        assert contrast("#fff", colours[button]) >= 4.5
    for ground in ("panel", "ground", "sunken"):
        assert contrast(colours["line"], colours[ground]) >= 3
