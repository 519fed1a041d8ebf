"""What the controls of the page do; a timer fetches updates of the list of jobs and of the comparison."""

from __future__ import annotations

from typing import Any

import gradio as gr

from safa.errors import SafaError
from safa.web import choices, job_markup, markup
from safa.web.guard import browser_of
from safa.web.job_record import DONE, DRAFT, QUEUED, RUNNING, WebJob
from safa.web.job_store import JobStore
from safa.web.material import Limits, describe_upload
from safa.web.worker import Workers

CHOICES = ("smoothness", "speed", "format", "quality", "sound", "cuts", "dedup", "count", "weights", "detail")


class Page:
    """The handlers of the page's controls. Every handler finds the browser's id in the request itself."""

    def __init__(self, store: JobStore, workers: Workers, limits: Limits) -> None:
        self.store, self.workers, self.limits = store, workers, limits

    # The new job

    def uploaded(self, event: gr.EventData, request: gr.Request, *chosen: Any) -> list[Any]:
        """Look at what arrived; show what it will become, or what is wrong with it."""
        job = self.store.get(_owner(request), _sent(event, "draft"))
        if job is None or job.state != DRAFT or job.is_arriving or not job.names:
            return self._empty("The upload is no longer there; drop it again.")
        files = [(self.store.input_of(job, number), name) for number, name in enumerate(job.names, 1)]
        try:
            kind, facts = describe_upload(files, self.limits)
        except SafaError as error:
            self.store.remove(job)
            return self._empty(str(error))
        self.store.change(job, kind=kind, facts=facts)
        return self._draft(job, chosen)

    def forgotten(self, event: gr.EventData, request: gr.Request, draft: str) -> list[Any]:
        """Take the file away again."""
        job = self._draft_of(request, draft)
        if _sent(event, "action") != "forget" or job is None:
            return [gr.skip()] * 7
        self.store.remove(job)
        return self._empty()

    def forecast(self, request: gr.Request, draft: str, *chosen: Any) -> Any:
        """A choice was changed: show the new forecast."""
        job = self._draft_of(request, draft)
        return self._forecast(job, chosen) if job is not None else gr.skip()

    def started(self, request: gr.Request, draft: str, *chosen: Any) -> list[Any]:
        """Queue the draft and clear the form."""
        job = self._draft_of(request, draft)
        if job is None:
            return self._empty("The upload is no longer there; drop it again.")
        try:
            self.store.queue(job, choices.possible(job.kind, job.facts, self._checked(chosen)))
        except SafaError as error:
            gr.Warning(str(error))
            return [gr.skip()] * 7
        return self._empty()

    def tried(self, request: gr.Request, draft: str, *chosen: Any) -> None:
        """Queue a second of it; the upload and its choices stay."""
        job = self._draft_of(request, draft)
        if job is None or job.kind != "video":
            return
        try:
            self.store.try_out(job, choices.possible(job.kind, job.facts, self._checked(chosen)))
        except SafaError as error:
            gr.Warning(str(error))

    def _draft_of(self, request: gr.Request, draft: str) -> WebJob | None:
        job = self.store.get(_owner(request), draft)
        return job if job is not None and job.state == DRAFT and job.facts else None

    def _checked(self, chosen: tuple[Any, ...]) -> dict[str, Any]:
        return choices.checked(dict(zip(CHOICES, chosen, strict=True)), self.workers.weights)

    def _empty(self, problem: str = "") -> list[Any]:
        zone, hidden = markup.drop_zone(self.limits, problem), gr.update(visible=False)
        return ["", zone, "", hidden, hidden, hidden, hidden]

    def _draft(self, job: WebJob, chosen: tuple[Any, ...]) -> list[Any]:
        is_video, has_choice = job.kind == "video", job.kind == "video" or job.facts["count"] == 2
        video, pictures = gr.update(visible=is_video), gr.update(visible=not is_video and has_choice)
        shown = [video, pictures, gr.update(visible=True), gr.update(visible=is_video)]
        return [job.id, markup.chosen(job), self._forecast(job, chosen), *shown]

    def _forecast(self, job: WebJob, chosen: tuple[Any, ...]) -> str:
        wanted = self._checked(chosen)
        try:
            choices.possible(job.kind, job.facts, wanted)
        except SafaError as error:
            return markup.impossible(str(error))
        work = choices.output_megapixels(job.kind, job.facts, wanted)
        return markup.forecast_table(
            job, wanted, self.workers.speeds.seconds(wanted["weights"], work), self._before(job)
        )

    def _before(self, job: WebJob) -> float:
        """Seconds until the jobs ahead are done."""
        return sum(self.workers.seconds_left(other) or 0 for other in self.store.ahead(job)) / self.workers.count

    # The list and the comparison

    def loaded(self, request: gr.Request, *chosen: Any) -> list[Any]:
        """A fresh page: an upload that was not started is still there, and so is every job."""
        drafts = self.store.drafts_of(_owner(request))
        draft = self._draft(drafts[0], chosen) if drafts else self._empty()
        return [*draft, *self.ticked(request, {})]

    def pressed(self, event: gr.EventData, request: gr.Request, seen: dict[str, Any]) -> list[Any]:
        """A button of a job."""
        job, action = self.store.get(_owner(request), _sent(event, "job")), _sent(event, "action")
        if job is not None and job.state != DRAFT:
            if action == "show" and job.state == DONE:
                seen = seen | {"wanted": job.id}
            elif action in ("cancel", "again", "remove"):
                try:
                    getattr(self.store, action)(job)
                except SafaError as error:
                    gr.Warning(str(error))
        return self.ticked(request, seen)

    def ticked(self, request: gr.Request, seen: dict[str, Any]) -> list[Any]:
        """Updates: (what this page has shown, the list, the comparison), left alone where nothing changed."""
        jobs = self.store.of(_owner(request))
        done = {job.id: job for job in jobs if job.state == DONE}
        shown = done.get(seen.get("wanted", "")) or next(iter(done.values()), None)
        name = shown.id if shown is not None else ""
        cards = job_markup.job_list(jobs, {job.id: self._waiting(job) for job in jobs}, name, self.store.keep)
        comparison = job_markup.stage(shown, is_busy=bool(jobs))
        now = {"wanted": seen.get("wanted", ""), "stage": comparison, "cards": cards}
        return [
            now,
            cards if cards != seen.get("cards") else gr.skip(),
            comparison if comparison != seen.get("stage") else gr.skip(),
        ]

    def _waiting(self, job: WebJob) -> tuple[int, float | None]:
        """How many jobs are ahead of an unfinished one, and the seconds until it is done."""
        if job.state not in (QUEUED, RUNNING):
            return 0, None
        left = self.workers.seconds_left(job)
        ahead = self.store.ahead(job) if job.state == QUEUED else []
        return len(ahead), left + self._before(job) if left is not None and ahead else left


def _owner(request: gr.Request) -> str:
    return browser_of(request.request)  # type: ignore[arg-type]


def _sent(event: gr.EventData, name: str) -> Any:
    """A value that our script sent along; None if it did not."""
    data = event._data
    return data.get(name) if isinstance(data, dict) else None
