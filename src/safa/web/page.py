"""The page itself: gradio's components for the choices, our own HTML for the rest, and a timer that fetches updates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from safa.checkpoint import SHARPENED
from safa.errors import SafaError
from safa.jobs.weights import AUTO
from safa.web import choices, markup
from safa.web.guard import browser_of
from safa.web.jobs import DONE, DRAFT, QUEUED, RUNNING, JobStore, WebJob
from safa.web.material import Limits, describe_upload
from safa.web.worker import Workers

STATIC = Path(__file__).parent / "static"
TICK_SECONDS = 1.0
CHOICES = ("smoothness", "speed", "format", "quality", "sound", "cuts", "dedup", "count", "weights", "detail")

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # the reader's own; nothing is fetched
THEME = gr.themes.Base(
    primary_hue="teal", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono=["ui-monospace", "monospace"]
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_500",
    block_border_width="0px",
    block_background_fill="transparent",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_text_color="white",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_text_color_selected="white",
)


class Page:
    """The handlers of the page's controls. Every handler finds the browser's id in the request itself."""

    def __init__(self, store: JobStore, workers: Workers, limits: Limits) -> None:
        self.store, self.workers, self.limits = store, workers, limits

    # The new job

    def uploaded(self, event: gr.EventData, request: gr.Request, *chosen: Any) -> list[Any]:
        """Look at what arrived; show what it will become, or what is wrong with it."""
        job = self.store.get(_owner(request), _sent(event, "draft"))
        if job is None or job.state != DRAFT:
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
            self.store.queue(job, self._checked(chosen))
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
            self.store.try_out(job, self._checked(chosen))
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
        cards = markup.job_list(jobs, {job.id: self._waiting(job) for job in jobs}, name, self.store.keep)
        comparison = markup.stage(shown, is_busy=bool(jobs))
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


def build(page: Page, weights: Mapping[str, str]) -> gr.Blocks:
    """Lay out the components and connect them."""
    defaults = choices.DEFAULTS
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    scripts = {name: (STATIC / f"{name}.js").read_text() for name in ("drop", "jobs", "stage")}
    with gr.Blocks(title="safa", analytics_enabled=False, fill_width=False) as blocks:
        gr.HTML(markup.header(), js_on_load=None)
        draft, seen = gr.State(""), gr.State({})
        with gr.Row(elem_classes="columns", equal_height=False):
            with gr.Column(scale=4, min_width=320):
                zone = gr.HTML(markup.drop_zone(page.limits), js_on_load=scripts["drop"], elem_classes="ours")
                with gr.Group(visible=False, elem_classes="choices") as video:
                    smoothness = _pills(choices.SMOOTHNESS, "Smoothness", defaults["smoothness"])
                    speed = _list(choices.SPEED, "Speed", defaults["speed"])
                    formats = {value: entry[0] for value, entry in choices.FORMATS.items()}
                    kind = _list(formats, "File", defaults["format"])
                    with gr.Accordion("More choices", open=False):
                        quality = _pills(choices.QUALITY, "Quality", defaults["quality"])
                        sound = gr.Checkbox(defaults["sound"], label="Keep the sound")
                        cuts = gr.Checkbox(defaults["cuts"], label="Keep scene cuts sharp")
                        dedup = gr.Checkbox(defaults["dedup"], label="Animation: smooth over repeated frames")
                with gr.Group(visible=False, elem_classes="choices") as pictures:
                    count = _pills(choices.COUNTS, "Between the two", defaults["count"])
                with gr.Group(visible=False, elem_classes="choices") as last:
                    names = {name: choices.WEIGHTS.get(name, name) for name in weights}
                    network = _pills(names, "Network (weights)", next(iter(weights)), visible=len(weights) > 1)
                    can_be_sharper = any(name == AUTO or name in SHARPENED for name in weights.values())
                    detail = _pills(choices.DETAIL, "Look", defaults["detail"], visible=can_be_sharper)
                    forecast = gr.HTML("", js_on_load=None, elem_classes="ours")
                    trial = gr.Button("Try a second", size="lg", elem_id="try", visible=False)
                    start = gr.Button("Start", variant="primary", size="lg", elem_id="start")
            with gr.Column(scale=7, min_width=320):
                stage = gr.HTML(markup.stage(None), js_on_load=scripts["stage"], elem_classes="ours")
                cards = gr.HTML("", js_on_load=scripts["jobs"], elem_classes="ours")
        chosen: list[Any] = [smoothness, speed, kind, quality, sound, cuts, dedup, count, network, detail]
        form, news = [draft, zone, forecast, video, pictures, last, trial], [seen, cards, stage]
        zone.upload(page.uploaded, chosen, form, **quiet)
        zone.click(page.forgotten, draft, form, **quiet)
        for choice in chosen:
            choice.input(page.forecast, [draft, *chosen], forecast, **quiet)
        start.click(page.started, [draft, *chosen], form, **quiet).then(page.ticked, seen, news, **quiet)
        trial.click(page.tried, [draft, *chosen], None, **quiet).then(page.ticked, seen, news, **quiet)
        cards.click(page.pressed, seen, news, **quiet)
        blocks.load(page.loaded, chosen, [*form, *news], **quiet)
        gr.Timer(TICK_SECONDS).tick(page.ticked, seen, news, **quiet)
    return blocks


def mount_page(app: FastAPI, store: JobStore, workers: Workers, limits: Limits) -> None:
    """Put the page at the root of ``app``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blocks = build(Page(store, workers, limits), workers.weights)
        gr.mount_gradio_app(
            app,
            blocks,
            path="",
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            show_error=False,
            theme=THEME,
            css_paths=STATIC / "page.css",
            app_kwargs={"docs_url": None, "redoc_url": None},
        )
    # Gradio checks paths in requests only once this is set, and does not set it when mounted. None of our components
    # takes files, and the guard lets no such request in; this is a third protection.
    blocks.has_launched = True


def _owner(request: gr.Request) -> str:
    return browser_of(request.request)  # type: ignore[arg-type]


def _sent(event: gr.EventData, name: str) -> Any:
    """A value that our script sent along; None if it did not."""
    data = event._data
    return data.get(name) if isinstance(data, dict) else None


def _pills(offered: Mapping[str, str], label: str, value: str, visible: bool = True) -> gr.Radio:
    return gr.Radio([(words, key) for key, words in offered.items()], value=value, label=label, visible=visible)


def _list(offered: Mapping[str, str], label: str, value: str) -> gr.Dropdown:
    return gr.Dropdown([(words, key) for key, words in offered.items()], value=value, label=label, filterable=False)
