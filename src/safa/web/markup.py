"""The parts of the page that gradio has no component for, as HTML. Text from users is escaped by ``text``."""

from __future__ import annotations

import html
from collections.abc import Mapping
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from safa.network.config import SCALE
from safa.web.choices import SMOOTHNESS, SPEED, made_size, output_frames, upscale_settings
from safa.web.jobs import CANCELLED, DONE, FAILED, QUEUED, RUNNING, WebJob
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
# Codecs and containers that browsers play.
PLAYED = {"h264", "vp8", "vp9", "av1"}
PLAYED_FORMATS = ("mp4", "webm")


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


def job_list(
    jobs: list[WebJob], waiting: Mapping[str, tuple[int, float | None]], shown: str | None, keep: float
) -> str:
    """All jobs of a browser.

    Args:
        waiting: how many are ahead of each unfinished one, and the seconds left.
        shown: id of the one that is compared.
        keep: seconds after which ended jobs are deleted.
    """
    if not jobs:
        return ""
    cards = "".join(_card(job, *waiting.get(job.id, (0, None)), job.id == shown) for job in jobs)
    note = f'<p class="kept">Everything is deleted {time_of(keep)} after the job ends.</p>'
    return f'<h2>Your jobs</h2><div class="jobs">{cards}</div>{note}'


def _card(job: WebJob, ahead: int, left: float | None, is_shown: bool) -> str:
    source = f"jobs/{job.id}"
    still = "after" if job.result else ""
    picture = f'<img src="{source}/{still}" alt="">' if still else icon("film" if job.kind == "video" else "picture")
    return (
        f'<article class="job {job.state}{" shown" if is_shown else ""}" data-job="{job.id}" data-state="{job.state}">'
        f'<div class="thumb">{picture}</div><div class="what"><strong>{text(" and ".join(job.names))}</strong>'
        f'<span class="detail">{text(_described(job))}</span>{_state(job, ahead, left)}</div>'
        f'<div class="actions">{_actions(job, is_shown)}</div></article>'
    )


def _described(job: WebJob) -> str:
    facts, choices = job.facts, job.settings
    if job.is_trial:
        return "A second of it, with every network"
    width, height = made_size(job.kind, facts, choices)
    size = f"{facts['width']} x {facts['height']} to {width} x {height}"
    if job.kind == "pictures":
        return size
    parts = [size, SMOOTHNESS[choices["smoothness"]].lower()]
    if choices["speed"] != "1":
        parts.append(SPEED[choices["speed"]].lower())
    return ", ".join(parts)


def _state(job: WebJob, ahead: int, left: float | None) -> str:
    if job.state == RUNNING:
        progress = job.progress
        if job.stop_asked:
            return '<span class="state">Stopping</span>'
        percent, told = 0.0, "Getting ready"
        if progress is not None:
            percent = min(100.0, 100 * progress.done / progress.total) if progress.total else 0.0
        if progress is not None and job.is_trial:
            told = f"{progress.done} of {progress.total} networks are done"
        elif progress is not None:
            told = f"{percent:.0f} %, {progress.frames_per_second:.3g} frames per second"
            told += ", checking the result" if percent >= 100 else f", {time_of(left)} left"
        return (
            f'<div class="bar" role="progressbar" aria-valuenow="{percent:.0f}" aria-valuemin="0" aria-valuemax="100" '
            f'aria-label="progress"><i style="width:{percent:.1f}%"></i></div><span class="state">{told}</span>'
        )
    if job.state == QUEUED:
        jobs = f"{ahead} job{'s' if ahead > 1 else ''} before it" if ahead else "starts next"
        if job.is_trial:
            return f'<span class="state">Waiting, {jobs}</span>'
        return f'<span class="state">Waiting, {jobs}, done in about {time_of(left)}</span>'
    if job.state == FAILED:
        return f'<span class="state problem">{icon("warning")}{text(job.error)}</span>'
    if job.state == CANCELLED:
        return '<span class="state">Cancelled. What was finished is kept; it can go on.</span>'
    result = job.result
    if job.is_trial:
        return f'<span class="state">Done in {time_of(result["seconds"])}: {text(result["note"])}</span>'
    made = f"{result['frames']:,} {'frames' if job.kind == 'video' else 'pictures'}, {size_of(result['bytes'])}"
    warnings = "".join(f'<span class="state note">{text(warning)}</span>' for warning in job.warnings)
    return f'<span class="state">Done in {time_of(result["seconds"])}: {made}</span>{warnings}'


def _actions(job: WebJob, is_shown: bool) -> str:
    def button(action: str, label: str, kind: str = "quiet") -> str:
        return f'<button type="button" class="{kind}" data-action="{action}" data-job="{job.id}">{label}</button>'

    if job.state in (QUEUED, RUNNING):
        return "" if job.stop_asked else button("cancel", "Cancel", "plain")
    remove = button("remove", "Delete")
    if job.state == DONE:
        return (button("show", "Show", "plain") if not is_shown else "") + _download(job, "plain") + remove
    return button("again", "Go on" if job.kind == "video" and not job.is_trial else "Again", "plain") + remove


def _download(job: WebJob, kind: str) -> str:
    return f'<a class="{kind} download" href="jobs/{job.id}/result?save">{icon("save")}Download</a>'


def stage(job: WebJob | None, is_busy: bool = False) -> str:
    """Before and after of a finished job, divided by a line that can be moved; or how to begin."""
    if job is None and is_busy:
        return (
            '<section class="soon"><strong>Before and after will be here</strong>'
            "<span>You can close this page meanwhile: the work goes on, and the result will be here.</span></section>"
        )
    if job is None:
        return (
            '<section class="welcome"><h2>How it works</h2><ol>'
            "<li><b>Drop</b> a clip, or two pictures to get what lies between them.</li>"
            "<li><b>Choose</b> how smooth it should be and press Start.</li>"
            "<li><b>Compare</b> before and after here, and download the result.</li></ol></section>"
        )
    if job.is_trial:
        return _trial(job)
    source, width, height = f"jobs/{job.id}", job.result["width"], job.result["height"]
    layers = (
        f'<img class="after" src="{source}/after" alt="after"><img class="before" src="{source}/before" alt="before">'
    )
    controls = ""
    if _plays(job):
        slow = job.settings["speed"]
        layers += (
            f'<video class="after" src="{source}/result" preload="auto" playsinline loop data-slow="{slow}"></video>'
            f'<video class="before" src="{source}/source" preload="auto" playsinline muted></video>'
        )
        controls = (
            f'<button type="button" class="plain play" aria-label="Play or pause">{icon("play")}</button>'
            '<input class="seek" type="range" min="0" max="1000" value="0" aria-label="moment">'
            '<output class="clock">0:00.0</output>'
        )
    facts = job.facts
    captions = f"<span>Before, {facts['width']} x {facts['height']}</span><span>After, {width} x {height}</span>"
    loop = ""
    if job.kind == "pictures" and job.facts["count"] == 2:
        loop = (
            f'<figure class="loop"><img src="{source}/loop" alt="all pictures, there and back">'
            "<figcaption>All pictures, there and back"
            f'<a class="quiet download" href="{source}/loop?save">{icon("save")}Save this</a></figcaption></figure>'
        )
    return (
        f'<section class="stage" data-job="{job.id}" data-view="slider"><div class="title"><h2>'
        f"{text(' and '.join(job.names))}</h2>{_download(job, 'primary')}</div>"
        f'<div class="frame" style="aspect-ratio:{width}/{height}">{layers}'
        '<span class="line" aria-hidden="true"></span>'
        '<input class="cut" type="range" min="0" max="1000" value="500" aria-label="before and after"></div>'
        f'<div class="captions">{captions}</div><div class="controls">{controls}'
        '<span class="views"><button type="button" class="quiet" data-view="slider">Slider</button>'
        f'<button type="button" class="quiet" data-view="side">Side by side</button></span></div>{loop}</section>'
    )


def _trial(job: WebJob) -> str:
    """A second with every network side by side, and the estimated time of each for the whole clip."""
    source, result = f"jobs/{job.id}", job.result
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(told)}</dd></div>" for name, told in result["told"])
    return (
        f'<section class="stage trial" data-job="{job.id}"><div class="title"><h2>A second of '
        f"{text(' and '.join(job.names))}</h2>{_download(job, 'primary')}</div>"
        f'<div class="strip" tabindex="0" role="group" aria-label="side by side"><video src="{source}/result" '
        f'style="aspect-ratio:{result["width"]}/{result["height"]}" autoplay loop muted playsinline controls></video>'
        '</div><p class="kept swipe">Swipe sideways to see all of them.</p>'
        f'<p class="kept">{text(result["note"])}. <a href="{source}/sheet" target="_blank">As a picture</a></p>'
        f'<dl class="forecast">{rows}</dl></section>'
    )


def _plays(job: WebJob) -> bool:
    """Whether a browser is likely to play both source and result; the page falls back on stills where it does not."""
    if job.kind != "video" or job.settings["format"] not in PLAYED_FORMATS:
        return False
    facts = job.facts
    return facts["codec"] in PLAYED and facts["depth"] == 8 and any(name in facts["format"] for name in PLAYED_FORMATS)


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
