"""Windows, counted frames and means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safa.data.codec import CodecName
from safa.data.scene import reduce_quarter
from safa.errors import SafaError
from safa.evaluation.protocols import (
    Compression,
    combine,
    part_indices,
    prepare,
    to_tensor,
    window_starts,
    windows,
)
from tests.evaluation.footage import Held, moving


@pytest.mark.parametrize(
    ("frames", "factor", "count", "last"),
    [(41, 2, 20, 38), (34, 2, 16, 30), (49, 2, 24, 46), (17, 8, 2, 8), (16, 8, 1, 0), (7, 6, 1, 0), (2, 2, 0, None)],
)
def test_windows_share_their_ends_and_stay_inside(frames: int, factor: int, count: int, last: int | None) -> None:
    starts = window_starts(frames, factor)
    assert (len(starts), starts[-1] if starts else None) == (count, last)
    assert set(np.diff(starts)) <= {factor}


def test_a_limit_spreads_the_windows_over_the_sequence() -> None:
    assert window_starts(201, 2, limit=4) == [24, 74, 124, 174]
    assert window_starts(9, 2, limit=3) == [0, 4, 6]  # no window twice
    assert window_starts(9, 2, limit=4) == [0, 2, 4, 6]


def test_the_inputs_are_the_reduced_ends() -> None:
    frames = moving(5)
    (window,) = windows(Held("x", frames), 4, [0])
    assert window.times == [0, 0.25, 0.5, 0.75]
    for given, end in zip(window.inputs(), (frames[0], frames[4]), strict=True):
        assert given.shape == (1, 3, 12, 16)
        assert np.array_equal((given[0] * 255).round().byte().permute(1, 2, 0).numpy(), reduce_quarter(end))
    assert torch.equal(window.truth(3)[0].permute(1, 2, 0), torch.tensor(frames[3]) / 255)


def test_compressed_inputs_are_damaged_and_the_truth_is_not() -> None:
    frames = moving(3, height=64)
    (clean,) = windows(Held("x", frames), 2, [0])
    (damaged,) = windows(Held("x", frames), 2, [0], Compression("vp9", 0.0))
    assert damaged.inputs()[0].shape == clean.inputs()[0].shape
    assert not torch.equal(damaged.inputs()[0], clean.inputs()[0])
    assert torch.equal(damaged.truth(1), clean.truth(1))


def test_windows_with_the_whole_stream() -> None:
    frames = [np.full((16, 16, 3), 10 * k, np.uint8) for k in range(8)]
    found = list(windows(Held("x", frames), 2, [0, 4], with_stream=True))
    assert [window.place for window in found] == [0, 2]
    assert [round(255 * float(frame.mean())) for frame in found[1].stream] == [0, 20, 40, 60]
    assert torch.equal(found[1].inputs()[0], found[1].stream[2])


@pytest.mark.parametrize(("codec", "quality"), [("h264", 0.0), ("h264", 34.0), ("hevc", 30.0), ("mpeg2", 8.0)])
def test_all_inputs_of_a_sequence_are_one_compressed_video(codec: CodecName, quality: float) -> None:
    """So that what looks at the stream and what looks at two frames see the same."""
    frames = moving(9, height=64)
    compression = Compression(codec, quality)
    alone = list(windows(Held("x", frames), 2, [0, 4], compression))
    streamed = list(windows(Held("x", frames), 2, [0, 4], compression, with_stream=True))
    expected = compression.applied([reduce_quarter(frame) for frame in frames[::2]])
    for one, other in zip(alone, streamed, strict=True):
        assert len(one.stream) == 5
        for number, (ours, theirs) in enumerate(zip(one.inputs(), other.inputs(), strict=True)):
            assert torch.equal(ours, theirs)
            assert torch.equal(ours, to_tensor(expected[one.place + number]))


def test_quality_is_relative_or_the_encoders_own() -> None:
    assert Compression("h264", 0.0).level == Compression("h264", 36.0).level == 36
    assert str(Compression("mpeg2", 8.0)) == "mpeg2 at quantiser scale 8"


@pytest.mark.parametrize(("codec", "quality"), [("theora", 0.5), ("vp9", 1.5), ("h264", 52.0), ("mpeg2", -1.0)])
def test_unknown_compression_is_refused(codec: str, quality: float) -> None:
    with pytest.raises(SafaError, match=r"vp9:0\.5"):
        Compression(codec, quality)  # type: ignore[arg-type]


def test_frames_too_small_to_measure_are_refused() -> None:
    with pytest.raises(SafaError, match="smaller than 16x16"):
        list(windows(Held("x", moving(3, height=12)), 2, [0]))


def test_parts_of_a_window() -> None:
    assert [list(part_indices(part, 8)) for part in ("inputs", "centre")] == [[0], [4]]
    assert list(part_indices("between", 8)) == [1, 2, 3, 4, 5, 6, 7]
    assert list(part_indices("average", 8)) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert list(part_indices("centre", 3)) == []


def test_means_weigh_windows_or_sequences() -> None:
    values = {"long": [20.0, 20.0, 20.0], "short": [30.0], "none": []}
    assert combine(values, "public") == pytest.approx(22.5)
    assert combine(values, "zooming") == pytest.approx(25)
    assert combine({"none": []}, "public") is None


def test_results_are_rounded_to_8_bits_in_the_zooming_variant_only() -> None:
    image = torch.tensor([-0.1, 0.3 / 255, 0.7 / 255, 1.2])
    assert torch.equal(prepare(image, "public"), torch.tensor([0, 0.3 / 255, 0.7 / 255, 1]))
    assert torch.equal(prepare(image, "zooming"), torch.tensor([0, 0, 1 / 255, 1]))
