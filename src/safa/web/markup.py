"""HTML for what gradio has no component for, but for the jobs. Text from users is escaped by ``text``."""

from __future__ import annotations

import html
from collections.abc import Mapping
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from safa.network.config import SCALE
from safa.web.choices import made_size, output_frames, upscale_settings
from safa.web.job_record import WebJob
from safa.web.material import Limits

ICONS = {
    "drop": '<path d="M12 16V4m0 0 5 5m-5-5L7 9"/><path d="M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3"/>',
    "film": '<rect x="3" y="5" width="18" height="14" rx="2"/><path d="M10 9.2v5.6l4.6-2.8z"/>',
    "picture": '<rect x="3" y="5" width="18" height="14" rx="2"/><path d="m3 16 5-4 4 3 4-4 5 4"/>',
    "save": '<path d="M12 4v11m0 0 5-5m-5 5-5-5"/><path d="M4 19h16"/>',
    "close": '<path d="m6 6 12 12M18 6 6 18"/>',
    "warning": '<path d="M12 4 2.8 19.5h18.4z"/><path d="M12 10v4m0 2.6v.1"/>',
    "play": '<path d="M8 5v14l11-7z"/>',
}
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 44 44"><rect width="44" height="44" rx="12" fill="#0f766e"/>'
    '<rect x="15" y="8" width="21" height="21" rx="5" fill="#fff" fill-opacity=".55"/>'
    '<rect x="8" y="27" width="9" height="9" rx="3" fill="#fff"/></svg>'
)


def text(value: object) -> str:
    """For use between tags and in quoted attributes."""
    return html.escape(str(value))


def icon(name: str) -> str:
    """A line drawing that takes the colour of the text."""
    return f'<svg class="glyph" viewBox="0 0 24 24" aria-hidden="true">{ICONS[name]}</svg>'


def size_of(count: float) -> str:
    """A number of bytes as text: 312 KB, 4.1 MB."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def time_of(seconds: float | None) -> str:
    """A length of time as text, rounded as an estimate."""
    if seconds is None:
        return "a while"
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def saved_name(job: WebJob, suffix: str) -> str:
    """What a file of the job is called when it is saved."""
    kind = "preview" if job.is_trial else {".zip": "between", ".webp": "loop"}.get(suffix, "4x")
    return f"{PurePosixPath(job.names[0]).stem or 'result'}-{kind}{suffix}"


def header() -> str:
    """Name and promise."""
    return (
        '<header class="top"><span class="mark" aria-hidden="true"><i></i><i></i></span><div><h1>safa</h1>'
        "<p>Makes a clip four times larger and as smooth as you like.</p></div></header>"
    )


def drop_zone(limits: Limits, problem: str = "") -> str:
    """Where files are dropped, and what was wrong with the last ones."""
    return (
        f'<div class="drop" data-most="{limits.bytes}">'
        '<input type="file" multiple hidden accept="video/*,image/*,.mkv">'
        f'<button type="button" class="zone">{icon("drop")}<strong>Drop a clip or two pictures</strong>'
        "<span>or <u>choose files</u></span>"
        f"<small>up to {size_of(limits.bytes)}, {time_of(limits.seconds)}, {limits.frame()}</small>"
        '<span class="sending" hidden><i></i><b>Sending</b></span></button>'
        f'<p class="problem" role="alert">{icon("warning") + text(problem) if problem else ""}</p></div>'
    )


def impossible(reason: str) -> str:
    """In place of a forecast: why these choices cannot be."""
    return f'<p class="problem" role="alert">{icon("warning") + text(reason)}</p>'


def chosen(job: WebJob) -> str:
    """What has been dropped."""
    facts = job.facts
    size = f"{facts['width']} x {facts['height']}"
    if job.kind == "video":
        sound = "with sound" if facts["sound"] else "no sound"
        rate = f"{float(Fraction(facts['rate'])):.3g} frames per second"
        detail = f"{size}, {facts['seconds']:.3g} s, {rate}, {sound}"
    else:
        detail = size
    kind = "film" if job.kind == "video" else "picture"
    return (
        f'<div class="chosen">{icon(kind)}<div><strong>{text(" and ".join(job.names))}</strong>'
        f"<span>{text(detail)}</span></div>"
        f'<button type="button" class="quiet" data-action="forget" aria-label="Take another file">{icon("close")}'
        "</button></div>"
    )


def forecast_table(job: WebJob, choices: Mapping[str, Any], seconds: float | None, before: float | None) -> str:
    """What the draft will become with these choices, and how long that takes."""
    facts = job.facts
    width, height = made_size(job.kind, facts, choices)
    frames = output_frames(job.kind, facts, choices)
    times = "four" if width == SCALE * facts["width"] else f"{width / facts['width']:.3g}"
    rows = [("Size", f"{width} x {height} <em>{times} times</em>")]
    if job.kind == "video":
        settings = upscale_settings(choices)
        rate = float(settings.output_rate(Fraction(facts["rate"])))
        length = facts["seconds"] * float(settings.slow)
        rows.append(("Frames", f"{frames:,} <em>{rate:.3g} a second</em>"))
        rows.append(("Length", f"{length:.3g} s" if length < 100 else time_of(length)))
    elif facts["count"] == 2:
        rows.append(("Pictures", f"{frames} <em>both of yours, enlarged, and {frames - 2} between</em>"))
    wait = f" <em>after {time_of(before)} for jobs before it</em>" if before else ""
    rows.append(("Takes", f"about {time_of(seconds)}{wait}" if seconds is not None else "<em>not known yet</em>"))
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="forecast">{cells}</dl>'


def login_page(wrong: bool) -> str:
    """The one page without gradio."""
    note = '<p role="alert">That is not the password.</p>' if wrong else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>safa</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0;
  background: #f8fafc; color: #1e293b; }}
form {{ display: grid; gap: .75rem; width: min(20rem, 80vw); padding: 2rem; border-radius: 18px; background: #fff;
  border: 1px solid #e2e8f0; }}
h1, p {{ margin: 0; }}
p {{ color: #b42318; }}
input, button {{ font: inherit; padding: .6rem .8rem; border-radius: 10px; border: 1px solid #cbd5e1; }}
button {{ background: #0f766e; color: #fff; border: 0; font-weight: 600; cursor: pointer; }}
</style></head>
<body><form method="post" action="login"><h1>safa</h1><label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" autofocus required>
{note}<button>Enter</button></form></body></html>
"""
