"""Jobs and forecasts as JSON, with the sentences that the page shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from safa.network.config import SCALE
from safa.web.jobs import CANCELLED, DONE, DRAFT, FAILED, QUEUED, RUNNING, JobStore, WebJob
from safa.web.options import SMOOTHNESS, SPEED, ResultPlan, size_text, time_text
from safa.web.worker import Workers

# Codecs and containers that browsers play.
PLAYED_CODECS = {"h264", "vp8", "vp9", "av1"}
PLAYED_FORMATS = ("mp4", "webm")


class Views:
    """JSON of what a store and its workers hold."""

    def __init__(self, store: JobStore, workers: Workers) -> None:
        self.store, self.workers = store, workers

    def jobs(self, owner: str) -> dict[str, Any]:
        """Return all jobs of a browser, the newest first, drafts before them."""
        jobs = [*self.store.drafts_of(owner), *self.store.of(owner)]
        return {
            "jobs": [self.job(job) for job in jobs],
            "note": f"Everything is deleted {time_text(self.store.keep)} after the job ends.",
        }

    def job(self, job: WebJob) -> dict[str, Any]:
        """Return one job. ``summary`` and ``status`` are sentences, ``actions`` is what can be done with it now."""
        ahead, seconds_left = self._wait(job)
        progress = job.progress if job.state == RUNNING else None
        return {
            "id": job.id,
            "state": job.state,
            "kind": job.kind,
            "trial": job.is_trial,
            "names": job.names,
            "title": " and ".join(job.names),
            "summary": _summary(job),
            "status": _status(job, ahead, seconds_left),
            "source": job.facts,
            "options": job.settings,
            "progress": {
                "percent": _percent(job),
                "done": progress.done,
                "total": progress.total,
                "frames_per_second": round(progress.frames_per_second, 2),
            }
            if progress is not None
            else None,
            "ahead": ahead,
            "seconds_left": None if seconds_left is None else round(seconds_left),
            "result": {name: value for name, value in job.result.items() if name != "file"} or None,
            "plays": _plays(job),
            "warnings": job.warnings,
            "error": job.error,
            "actions": _actions(job),
            "files": {name: f"/api/jobs/{job.id}/files/{name}" for name in file_names(job)},
        }

    def forecast(self, draft: WebJob, plan: ResultPlan) -> dict[str, Any]:
        """Return the size of a draft's result, and how long it takes; ``rows`` is the table that the page shows."""
        facts, (width, height) = draft.facts, plan.size
        seconds, before = self.workers.seconds_for(plan), self.workers.seconds_before(draft)
        factor = "four" if width == SCALE * facts["width"] else f"{width / facts['width']:.3g}"
        rows = [("Size", f"{width} x {height}", f"{factor} times")]
        if plan.kind == "video":
            length = facts["seconds"] * float(plan.options.upscale_settings().slow)
            rows.append(("Frames", f"{plan.frames:,}", f"{float(plan.rate):.3g} a second"))
            rows.append(("Length", f"{length:.3g} s" if length < 100 else time_text(length), ""))
        elif facts["count"] == 2:
            rows.append(("Pictures", str(plan.frames), f"both of yours, enlarged, and {plan.frames - 2} between"))
        wait = f"after {time_text(before)} for jobs before it" if before else ""
        rows.append(
            ("Takes", f"about {time_text(seconds)}", wait) if seconds is not None else ("Takes", "", "not known")
        )
        return {
            "width": width,
            "height": height,
            "frames": plan.frames,
            "seconds": None if seconds is None else round(seconds, 1),
            "seconds_before": round(before, 1),
            "rows": [{"label": label, "value": value, "note": note} for label, value, note in rows],
        }

    def _wait(self, job: WebJob) -> tuple[int, float | None]:
        """Return how many jobs are ahead of an unfinished one, and the seconds until it is done."""
        if job.state not in (QUEUED, RUNNING):
            return 0, None
        seconds = self.workers.seconds_left(job)
        ahead = len(self.store.ahead(job)) if job.state == QUEUED else 0
        return ahead, seconds + self.workers.seconds_before(job) if seconds is not None and ahead else seconds


def file_names(job: WebJob) -> list[str]:
    """Return the names under which files of a job can be downloaded."""
    names = ["source"] if job.kind == "video" and job.facts else []
    if job.result:
        names += ["result", "after", "sheet"] if job.is_trial else ["result", "before", "after"]
        names += ["loop"] if job.kind == "pictures" and job.facts["count"] == 2 else []
    return names


def saved_name(job: WebJob, suffix: str) -> str:
    """Return the name under which a browser saves a file of the job."""
    kind = "preview" if job.is_trial else {".zip": "between", ".webp": "loop"}.get(suffix, "4x")
    return f"{PurePosixPath(job.names[0]).stem or 'result'}-{kind}{suffix}"


def _summary(job: WebJob) -> str:
    facts = job.facts
    if job.is_trial:
        return "A second of it, with every network"
    source = f"{facts['width']} x {facts['height']}" if facts else ""
    if job.state == DRAFT and job.kind == "video" and facts:
        rate = f"{float(Fraction(facts['rate'])):.3g} frames per second"
        return f"{source}, {facts['seconds']:.3g} s, {rate}, {'with sound' if facts['sound'] else 'no sound'}"
    if job.state == DRAFT:
        return source
    plan = job.plan
    parts = [f"{source} to {plan.size[0]} x {plan.size[1]}"]
    if job.kind == "video":
        parts.append(SMOOTHNESS[plan.options.smoothness].lower())
        parts += [SPEED[plan.options.speed].lower()] if plan.options.speed != "1" else []
    return ", ".join(parts)


def _status(job: WebJob, ahead: int, seconds_left: float | None) -> str:
    if job.state == QUEUED:
        position = f"{ahead} job{'s' if ahead > 1 else ''} before it" if ahead else "starts next"
        return f"Waiting, {position}" + ("" if seconds_left is None else f", done in about {time_text(seconds_left)}")
    if job.state == RUNNING:
        return _running(job, seconds_left)
    if job.state == FAILED:
        return job.error
    if job.state == CANCELLED:
        return "Cancelled. What was finished is kept; it can go on."
    if job.state == DONE:
        spent = f"Done in {time_text(job.result['seconds'])}"
        if job.is_trial:
            return f"{spent}: {job.result['note']}"
        unit = "frames" if job.kind == "video" else "pictures"
        return f"{spent}: {job.result['frames']:,} {unit}, {size_text(job.result['bytes'])}"
    return ""


def _running(job: WebJob, seconds_left: float | None) -> str:
    progress = job.progress
    if job.stop_requested:
        return "Stopping"
    if progress is None:
        return "Getting ready"
    if job.is_trial:
        return f"{progress.done} of {progress.total} networks are done"
    percent = _percent(job)
    parts = [f"{percent:.0f} %", f"{progress.frames_per_second:.3g} frames per second"]
    if percent >= 100:
        parts.append("checking the result")
    elif seconds_left is not None:
        parts.append(f"{time_text(seconds_left)} left")
    return ", ".join(parts)


def _percent(job: WebJob) -> float:
    progress = job.progress
    if progress is None or not progress.total:
        return 0.0
    return round(min(100.0, 100 * progress.done / progress.total), 1)


def _actions(job: WebJob) -> list[str]:
    if job.state in (QUEUED, RUNNING):
        return [] if job.stop_requested else ["cancel"]
    return ["resume", "delete"] if job.state in (FAILED, CANCELLED) else ["delete"]


def _plays(job: WebJob) -> bool:
    """Return whether a browser is likely to play both source and result; where it does not, the page shows stills."""
    if job.kind != "video" or job.is_trial or not job.result or job.settings["format"] not in PLAYED_FORMATS:
        return False
    is_container = any(name in job.facts["format"] for name in PLAYED_FORMATS)
    return is_container and job.facts["codec"] in PLAYED_CODECS and job.facts["depth"] == 8
