from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from safa.errors import OutputError
from safa.video.codecs import AVX_512F, CODECS, HARDWARE, choose_codec, codec_entry
from safa.video.colour import Mastering
from safa.video.encoder import MOST_ECONOMY, check_encoder
from safa.video.verify import verify
from tests.video.making import convert, frame_hashes, make_video, write_frames, write_video

FITTING = [
    (".mp4", "h264", "h264"),
    (".mp4", "h265", "hevc"),
    (".mp4", "av1", "av1"),
    (".mov", "prores", "prores"),
    (".webm", "vp9", "vp9"),
    (".webm", "av1", "av1"),
    (".mkv", "ffv1", "ffv1"),
    (".mkv", "h265", "hevc"),
]


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize(("suffix", "codec", "name"), FITTING)
def test_codec_survives_segments_and_resuming(tmp_path, suffix, codec, name, bit_depth):
    pixels = "yuv420p10le" if bit_depth == 10 else "yuv420p"
    source = make_video(tmp_path / "in.mkv", size=(64, 64), codec="ffv1", pixel_format=pixels)
    output = tmp_path / f"out{suffix}"
    choice = choose_codec(output, codec, bit_depth)
    settings = {"codec": codec, "pixel_format": choice.pixel_format}
    assert write_frames(source, output, stop_after=11, **settings) is None
    expected = convert(source, output, **settings)
    verification = verify(output, expected)
    assert verification.ok, verification.failures()
    convert(source, tmp_path / f"whole{suffix}", **settings)
    assert frame_hashes(output) == frame_hashes(tmp_path / f"whole{suffix}")
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == name
        found = stream.codec_context.format.components[0].bits
        assert found == (10 if codec == "prores" or (bit_depth == 10 and not choice.warnings) else 8)


@pytest.mark.parametrize("economy", range(1, MOST_ECONOMY + 1))
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
def test_thrifty_encoders_make_whole_videos(tmp_path, codec, economy):
    source, output = make_video(tmp_path / "in.mkv", size=(64, 64)), tmp_path / "out.mkv"
    settings = {"codec": codec, "pixel_format": choose_codec(output, codec).pixel_format, "economy": economy}
    verification = verify(output, convert(source, output, **settings))
    assert verification.ok, verification.failures()


def test_h265_of_one_coding_tree_unit_is_the_same_each_time(tmp_path):
    """x265 reads what it has not written there, unless it is told to halve the unit."""
    rng = np.random.default_rng(1)
    still = cv2.GaussianBlur(rng.normal(0, 200, (64, 96, 3)), (0, 0), 2)
    frames = [still[:, 3 * k : 3 * k + 64] + rng.normal(128, 12, (64, 64, 3)) for k in range(6)]
    pictures = [frame.clip(0, 255).astype(np.uint8) for frame in frames]
    source, made, others = tmp_path / "in.mkv", set(), []
    write_video(source, pictures, range(6), Fraction(1, 24), rate=24, codec="ffv1", pixel_format="bgr0")
    for number in range(12):
        others.append(np.full(50_000 + 20_000 * number, number, np.uint8))  # so that memory is never as it was
        convert(source, tmp_path / f"{number}.mkv", codec="h265", pixel_format="yuv420p")
        made.add(tuple(frame_hashes(tmp_path / f"{number}.mkv")))
    assert len(made) == 1


def test_headers_say_nothing_of_the_machine(tmp_path):
    """Segments that were made on different machines are joined where their headers are equal."""
    output = tmp_path / "out.mkv"
    convert(make_video(tmp_path / "in.mkv", size=(64, 64)), output, codec="h265", pixel_format="yuv420p")
    with av.open(str(output)) as container:
        header = container.streams.video[0].codec_context.extradata
    assert b"cpuid" not in header
    assert b"pools" not in header


@pytest.mark.parametrize(
    ("path", "bit_depth", "codec"),
    [("a.mp4", 8, "h264"), ("a.mkv", 10, "h265"), ("a.webm", 8, "vp9"), ("a.webm", 10, "av1"), ("a.gif", 8, "rgb")],
)
def test_default_keeps_the_bits(path, bit_depth, codec):
    choice = choose_codec(Path(path), None, bit_depth)
    assert choice.codec == codec
    assert choice.warnings == ()


def test_what_is_lost_is_said():
    deep = choose_codec(Path("a.mp4"), "vp9", 10)
    assert bool(deep.warnings) == ("10" not in deep.pixel_format)  # not every build of the encoder takes 10 bits
    assert "transparency" in choose_codec(Path("a.mp4"), None, 8, alpha=True).warnings[0]
    assert choose_codec(Path("a.mov"), "prores", 8, alpha=True).pixel_format == "yuva444p10le"


@pytest.mark.parametrize(
    ("path", "codec", "message"),
    [
        ("a.mp4", "prores", ".mp4 cannot hold prores; use one of h264"),
        ("a.webm", "h264", "cannot hold h264; use one of vp9"),
        ("a.mp4", "h269", "there is no codec 'h269'"),
        ("a.doc", "h264", "must end in one of"),
    ],
)
def test_impossible_codecs_are_refused(path, codec, message):
    with pytest.raises(OutputError, match=message):
        choose_codec(Path(path), codec)


def test_encoder_that_does_not_start_is_an_error_before_work(tmp_path, clip):
    """Hardware encoders are in the build, but mostly not in the machine."""
    missing = [name for name in av.codecs_available if name.partition("_")[2] in HARDWARE and name.startswith("h264_")]
    *_, spec, _, _ = write_frames(clip, tmp_path / "out.mp4")
    check_encoder(spec)
    with pytest.raises(OutputError, match="does not start on this machine"):
        check_encoder(type(spec)(**{**vars(spec), "width": 1, "height": 1, "codec": (missing or ["h264"])[0]}))


@pytest.mark.parametrize("found", [False, True])
def test_x264_is_kept_from_the_code_that_differs_from_run_to_run(monkeypatch, found):
    """Only where the processor has it: a processor without AVX2 could not run what is asked for."""
    monkeypatch.setattr(cv2, "checkHardwareSupport", lambda feature: found and feature == 13)
    options = CODECS["h264"].options(17, "medium", Mastering())
    assert options.get("x264-params") == ("asm=avx2" if found else None)


def test_the_processor_feature_is_the_one_that_is_meant():
    assert cv2.getHardwareFeatureName(AVX_512F) == "AVX512F"


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_is_in_this_build(name):
    entry = codec_entry(name)
    available = {pixel.name for pixel in av.codec.Codec(entry.encoder, "w").video_formats or ()}
    assert not available or entry.formats[0] in available
