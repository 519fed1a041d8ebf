"""The report: self-contained, complete, and about the right frames."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from safa.data.scene import reduce_quarter
from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.inspect import FactorCost, ScaleCounts
from safa.evaluation.methods import BASELINES, Method, network_method
from safa.evaluation.page import before_after, decision_sheets, find_window, html_report, worst
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import Compression
from safa.evaluation.run import Results, evaluate
from safa.network.safa import Safa
from tests.conftest import tiny_network
from tests.evaluation.footage import Held, moving

HOLD, BLEND, _ = BASELINES


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two sequences; the second moves faster, and its last window is cut to black."""
    fast = moving(5, step=4)
    fast[3] = fast[4] = np.zeros_like(fast[0])
    return Dataset("made <up>", (Held("slow", moving(7)), Held("fast", fast)), factor=2)


@pytest.fixture(scope="module")
def results(dataset: Dataset) -> Results:
    return evaluate([HOLD, BLEND], dataset)


def test_before_and_after_are_of_the_same_middle_frame(results: Results, dataset: Dataset) -> None:
    slow, _ = before_after(results, dataset, HOLD, BLEND)
    assert (slow.score.sequence, slow.score.start, slow.score.index) == ("slow", 2, 1)
    assert np.array_equal(slow.truth, moving(7)[3])
    inputs = find_window(dataset, "slow", 2).inputs()
    for method, picture in ((HOLD, slow.subject), (BLEND, slow.other)):
        (expected,) = method.interpolate(*inputs, [0.5])
        assert np.abs(picture - 255 * expected[0].permute(1, 2, 0).numpy()).max() <= 0.51


def test_decisions_are_shown_for_the_inputs_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset("x", (Held("slow", moving(3)),), 2, Compression("h264", 40))
    seen: list[np.ndarray] = []
    monkeypatch.setattr("safa.evaluation.page.decide", lambda network, low0, low1, times: seen.extend((low0, low1)))
    monkeypatch.setattr("safa.evaluation.page.overview", lambda network, decisions: None)
    decision_sheets(evaluate([HOLD], dataset), dataset, tiny_network())
    expected = find_window(dataset, "slow", 0).inputs()
    assert all(np.array_equal(a, image_of(b)) for a, b in zip(seen, expected, strict=True))
    assert not np.array_equal(seen[0], reduce_quarter(moving(1)[0]))


def test_the_worst_frame_is_the_one_at_the_cut(results: Results, dataset: Dataset) -> None:
    lowest = worst(results, dataset, HOLD, BLEND, count=2)[0]
    assert (lowest.score.sequence, lowest.score.start, lowest.score.index) == ("fast", 2, 1)


def test_a_sequence_that_is_not_there_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SafaError, match="no sequence gone"):
        find_window(dataset, "gone", 0)


class Page(HTMLParser):
    """Collects what a page refers to, its headings, and tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in {"img", "input", "meta"}:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attributes if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings.append(data)


def pictures(page: Page) -> Iterator[np.ndarray]:
    for source in page.sources:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        yield decoded


def test_the_report_holds_everything_it_was_given(results: Results, dataset: Dataset, input_network: Safa) -> None:
    subject = network_method(input_network, "tiny <b>")
    measured = evaluate([BLEND, subject], dataset)
    wider = evaluate([BLEND, subject], replace(dataset, factor=4))
    text = html_report(
        [measured, wider],
        dataset,
        subject,
        BLEND,
        input_network,
        [ScaleCounts(240, ("a",), (1.0, 0.5, 0.25), ((3, 1, 0), (0, 0, 4))), ScaleCounts(2160, (), (1.0,), ((0,),))],
        [FactorCost(2, 10**9, 0.1), FactorCost(4, 15 * 10**8, 0.15)],
    )
    page = Page(text)
    assert page.open == []  # every element is closed
    assert page.headings == [
        "tiny <b> on made <up>",
        "made <up>: space x4, time x2, 5 windows of 2 sequences, public protocol",
        "PSNR-Y in dB by sequence, all counted frames",
        "Cost",
        "PSNR-Y of every frame",
        "Time factors",
        "Cost of tiny <b> against time factor",
        "bicubic + blending (left) and tiny <b> (right)",
        "Worst frames of tiny <b>",
        "Flow, mask and scales over time",
        "Scales chosen by the selector, by height of the output",
    ]
    # 2 sliders of 2 pictures, 3 worst frames of 3, the wheel and 2 sheets.
    assert len(list(pictures(page))) == 2 * 2 + 3 * 3 + 1 + 2
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "http" not in text
    assert re.findall(r">(\d+%)<", text) == ["38%", "12%", "50%", "75%", "25%", "100%"]
    assert "No clip is large enough" in text


def test_the_least_report_needs_neither_network_nor_analyses(results: Results, dataset: Dataset) -> None:
    page = Page(html_report([results], dataset, HOLD, BLEND))
    assert page.headings[-1] == "Worst frames of bicubic + hold"
    assert "Time factors" not in page.headings


def test_subject_pictures_are_on_the_right(results: Results, dataset: Dataset) -> None:
    black = Method("black", lambda a, b, times: (0 * next(iter(HOLD.interpolate(a, b, [t]))) for t in times))
    measured = evaluate([HOLD, black], dataset)
    text = html_report([measured], dataset, black, HOLD)
    below, above = list(pictures(Page(text)))[:2]
    assert below.max() == 0
    assert above.max() > 0
    assert text.index('alt="black"') < text.index('class="top"')
