"""The components of the page, laid out and connected to the handlers of ``Page``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from safa.checkpoint import SHARPENED
from safa.jobs.weights import AUTO
from safa.web import choices, job_markup, markup
from safa.web.job_store import JobStore
from safa.web.material import Limits
from safa.web.page import Page
from safa.web.worker import Workers

STATIC = Path(__file__).parent / "static"
TICK_SECONDS = 1.0
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
                stage = gr.HTML(job_markup.stage(None), js_on_load=scripts["stage"], elem_classes="ours")
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
    # Gradio checks paths in requests only once this is set, and does not set it when mounted. The guard refuses what
    # names a file or an address; this is a second protection, from paths but not from addresses.
    blocks.has_launched = True


def _pills(offered: Mapping[str, str], label: str, value: str, visible: bool = True) -> gr.Radio:
    return gr.Radio([(words, key) for key, words in offered.items()], value=value, label=label, visible=visible)


def _list(offered: Mapping[str, str], label: str, value: str) -> gr.Dropdown:
    return gr.Dropdown([(words, key) for key, words in offered.items()], value=value, label=label, filterable=False)
