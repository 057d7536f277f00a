from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.planes import (
    FORMATS,
    MOST_BYTES,
    Developer,
    Layout,
    Locator,
    decoded,
    write_picture,
)
from streamer.types import Picture
from streamer.vision.picture import ArrayPicture

SIZES = st.integers(1, 300)
ASKED = [(None, None), (640, 360), (333, 187), (97, 54), (2, 2)]

CODECS = [
    ("h264", "libx264", "yuv420p", {}),
    ("h264", "libx264", "yuv420p", {"x264-params": "chromaloc=3"}),
    ("h264", "libx264", "yuv420p", {"x264-params": "tff=1"}),
    ("h264", "libx264", "yuv422p", {}),
    ("h264", "libx264", "yuv444p", {}),
    ("h264", "libx264", "gray", {}),
    ("h264", "libx264", "yuv420p", {"x264-params": "colormatrix=bt470bg:fullrange=on"}),
    ("mjpeg", "mjpeg", "yuvj420p", {}),
    ("mjpeg", "mjpeg", "yuvj422p", {}),
    ("vp9", "libvpx-vp9", "yuv420p", {"deadline": "realtime"}),
    ("hevc", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
]


def patches(width: int, height: int, form: str, seed: int = 0) -> av.VideoFrame:
    """Patches of strong colours: their edges show where chroma samples lie."""
    small = np.random.default_rng(seed).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8
    )
    image = np.ascontiguousarray(small.repeat(8, 0).repeat(8, 1)[:height, :width])
    return av.VideoFrame.from_ndarray(image, "bgr24").reformat(format=form)


def decoded_frames(
    decoder: str, encoder: str, form: str, options: dict[str, str], size: tuple[int, int]
) -> list[av.VideoFrame]:
    writer = av.CodecContext.create(encoder, "w")
    writer.width, writer.height, writer.pix_fmt = *size, form
    writer.framerate, writer.time_base, writer.options = 25, Fraction(1, 25), options
    reader = av.CodecContext.create(decoder, "r")
    packets = []
    for number in range(2):
        frame = patches(*size, form, number)
        frame.pts = number
        packets += writer.encode(frame)
    packets += writer.encode(None)
    frames = [f for packet in packets for f in reader.decode(av.Packet(bytes(packet)))]
    return frames + reader.decode(None)


def through_bytes(picture: Picture, developer: Developer) -> tuple[Picture, Layout]:
    target = np.full(MOST_BYTES * picture.width * picture.height, 99, np.uint8)
    layout = write_picture(picture, target, Locator().location(picture))
    data = np.concatenate([target[: layout.size()], np.zeros(64, np.uint8)])
    return developer.picture(layout, data), layout


@pytest.mark.parametrize("size", [(320, 240), (642, 358), (1280, 720)])
@pytest.mark.parametrize(("decoder", "encoder", "form", "options"), CODECS)
def test_a_decoded_picture_keeps_every_byte_of_its_colours(
    decoder: str, encoder: str, form: str, options: dict[str, str], size: tuple[int, int]
) -> None:
    fields = "tff=1" in options.values()
    size = (640, 360) if fields and size[1] % 4 else size  # the encoder's wish
    developer = Developer()
    for frame in decoded_frames(decoder, encoder, form, options, size):
        assert frame.interlaced_frame == fields
        direct = AvPicture(frame, ColourConverter())
        copied, layout = through_bytes(direct, developer)
        assert layout.form == frame.format.name
        for asked in ASKED:
            assert np.array_equal(copied.bgr(*asked), direct.bgr(*asked)), (asked, layout)


@pytest.mark.parametrize("size", [(641, 361), (33, 17)])
@pytest.mark.parametrize("form", ["yuv420p", "nv12", "p010le"])
def test_odd_sizes(size: tuple[int, int], form: str) -> None:
    direct = AvPicture(patches(*size, form), ColourConverter())
    copied, layout = through_bytes(direct, Developer())
    assert layout.form == form
    for asked in ASKED:
        assert np.array_equal(copied.bgr(*asked), direct.bgr(*asked))


def test_turned_pictures_stay_turned() -> None:
    direct = AvPicture(patches(320, 240, "yuv420p"), ColourConverter())
    direct._turns, direct.width, direct.height = 1, 240, 320
    copied, layout = through_bytes(direct, Developer())
    assert (copied.width, copied.height, layout.turns) == (240, 320, 1)
    for asked in [(None, None), (120, 160)]:
        assert np.array_equal(copied.bgr(*asked), direct.bgr(*asked))


def test_other_formats_and_other_pictures_become_pixels() -> None:
    strange = AvPicture(patches(64, 48, "rgb565le"), ColourConverter())
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for picture in (strange, ArrayPicture(image)):
        assert decoded(picture) is None
        copied, layout = through_bytes(picture, Developer())
        assert layout == Layout("bgr24", 64, 48)
        assert np.array_equal(copied.bgr(), picture.bgr())


def test_a_developer_follows_a_change_of_size_and_format() -> None:
    developer = Developer()
    for size, form in [((64, 48), "yuv420p"), ((128, 96), "yuv420p"), ((128, 96), "nv12")]:
        direct = AvPicture(patches(*size, form), ColourConverter())
        copied, _ = through_bytes(direct, developer)
        assert np.array_equal(copied.bgr(), direct.bgr())


def test_the_place_of_chroma_samples_is_found_once_for_a_stream() -> None:
    locator = Locator()
    left, other = decoded_frames(*CODECS[0][:3], {}, (320, 240))
    assert locator.location(AvPicture(left, ColourConverter())) == 1  # AVCHROMA_LOC_LEFT
    known = locator._key
    assert locator.location(AvPicture(other, ColourConverter())) == 1
    assert locator._key is known
    (top, _) = decoded_frames("h264", "libx264", "yuv420p", CODECS[1][3], (64, 48))
    before = bytes(top.planes[0])
    # H.264 counts these places from 0 (ITU-T H.264 E.2.1) and FFmpeg from 1.
    assert locator.location(AvPicture(top, ColourConverter())) == 4
    assert bytes(top.planes[0]) == before, "looking changes nothing"
    image = np.zeros((48, 64, 3), np.uint8)
    assert locator.location(ArrayPicture(image)) == 0


@given(form=st.sampled_from(sorted(FORMATS)), width=SIZES, height=SIZES)
def test_planes_are_as_long_as_ffmpeg_says(form: str, width: int, height: int) -> None:
    frame = av.VideoFrame(width, height, form)
    layout = Layout(form, width, height)
    assert [rows for rows, _ in layout.planes()] == [plane.height for plane in frame.planes]
    for (_, row), plane in zip(layout.planes(), frame.planes, strict=True):
        assert row <= plane.line_size
    assert layout.size() <= MOST_BYTES * width * height
    if form != "bgr24":  # FFmpeg's own raw decoder takes exactly so many bytes
        assert Developer().frame(layout, np.zeros(layout.size(), np.uint8)).width == width


def test_no_colour_space_and_no_height_keep_a_picture_from_being_seen() -> None:
    layouts = [Layout("yuv420p", 64, 48, colorspace=number) for number in range(256)]
    layouts += [Layout("yuv420p", 64, height, interlaced=True) for height in range(1, 20)]
    for layout in layouts:
        data = np.zeros(layout.size() + 64, np.uint8)
        assert Developer().picture(layout, data).bgr(32, 24).shape == (24, 32, 3)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="no 64x48 picture"):
        Developer().picture(Layout("yuv420p", 64, 48), np.zeros(100, np.uint8))
    with pytest.raises(ValueError, match=r".*"):
        write_picture(ArrayPicture(np.zeros((48, 64, 3), np.uint8)), np.zeros(100, np.uint8))
