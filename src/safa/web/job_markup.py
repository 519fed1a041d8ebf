"""The jobs of a browser as HTML: their list, and what a finished one made beside what it was made from."""

from __future__ import annotations

from collections.abc import Mapping

from safa.web.choices import SMOOTHNESS, SPEED, made_size
from safa.web.job_record import CANCELLED, DONE, FAILED, QUEUED, RUNNING, WebJob
from safa.web.markup import icon, size_of, text, time_of

# Codecs and containers that browsers play.
PLAYED = {"h264", "vp8", "vp9", "av1"}
PLAYED_FORMATS = ("mp4", "webm")


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
