from __future__ import annotations

import struct
import threading
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.pyav import PyAvSource
from streamer.errors import SourceLost
from streamer.types import Frame, SourceUrl
from tests.capture.clips import bar_of, make_clip, picture

MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # AVCOL_SPC: (Kr, Kb)


def source(path: Path, **options: object) -> PyAvSource:
    return PyAvSource(SourceUrl(str(path)), camera="door", live=False, **options)


def read(path: Path, **options: object) -> list[Frame]:
    return list(source(path, **options).frames(threading.Event()))


def plain(width: int, height: int, yuv: tuple[int, int, int], form: str = "yuv420p"):
    frame = av.VideoFrame(width, height, form)
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def by_formula(yuv: tuple[int, int, int], kr: float, kb: float, *, full: bool) -> list[float]:
    """BGR 0..255 of a colour, ITU-R BT.709 and BT.601 equations."""
    y = yuv[0] / 255 if full else (yuv[0] - 16) / 219
    u, v = ((c - 128) / (255 if full else 224) for c in yuv[1:])
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return [255 * c for c in (blue, (y - kr * red - kb * blue) / (1 - kr - kb), red)]


def test_a_file_gives_every_picture_in_order(tmp_path: Path) -> None:
    frames = read(make_clip(tmp_path / "a.mp4", frames=25))
    assert [f.index for f in frames] == list(range(25))
    assert [bar_of(f.picture.bgr()) for f in frames] == [n % 10 for n in range(25)]
    assert [round(f.pts or 0, 3) for f in frames] == [round(n / 25, 3) for n in range(25)]
    assert {(f.camera, f.epoch) for f in frames} == {("door", 0)}
    stamps = [f.captured_at for f in frames]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [("a.mkv", "mpeg4", None), ("a.ts", "libx264", None), ("a.webm", "libvpx-vp9", None),
     ("a.h264", "libx264", "h264"), ("name: with [odd] characters,%20.avi", "mjpeg", None)],
)  # fmt: skip
def test_files_of_many_kinds(tmp_path: Path, name: str, codec: str, muxer: str | None) -> None:
    frames = read(make_clip(tmp_path / name, codec=codec, muxer=muxer, frames=12))
    assert [bar_of(f.picture.bgr()) for f in frames] == [n % 10 for n in range(12)]


@pytest.mark.parametrize("size", [(642, 358), (320, 240), (638, 362)])
@pytest.mark.parametrize("wanted", [None, (333, 187), (640, 360), (1, 1), (1001, 77)])
def test_odd_sizes_and_padded_rows(
    tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int] | None
) -> None:
    width, height = size
    (frame,) = read(make_clip(tmp_path / "a.mp4", frames=1, width=width, height=height))
    assert (frame.picture.width, frame.picture.height) == size
    image = frame.picture.bgr(*wanted) if wanted else frame.picture.bgr()
    want_width, want_height = wanted or size
    assert image.shape == (want_height, want_width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    if wanted is None:
        assert np.abs(image.astype(int) - picture(0, width, height)).mean() < 4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_those_the_stream_names(matrix: int, full: bool) -> None:
    yuv = (110, 100, 160)
    frame = plain(128, 64, yuv)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    wanted = by_formula(yuv, *MATRICES[matrix], full=full)
    for size in [(128, 64), (64, 32)]:
        image = AvPicture(frame, ColourConverter()).bgr(*size)
        assert np.abs(image[10, 10] - wanted).max() <= 3
    assert frame.colorspace == matrix  # the frame is as it was


@pytest.mark.parametrize(("size", "matrix"), [((640, 480), 6), ((720, 576), 6), ((1280, 720), 1)])
def test_unnamed_colours_go_by_size(size: tuple[int, int], matrix: int) -> None:
    yuv = (110, 100, 160)
    image = AvPicture(plain(*size, yuv), ColourConverter()).bgr(64, 64)
    assert np.abs(image[9, 9] - by_formula(yuv, *MATRICES[matrix], full=False)).max() <= 3


def test_full_range_jpeg_frames() -> None:
    yuv = (110, 100, 160)
    image = AvPicture(plain(64, 64, yuv, "yuvj420p"), ColourConverter()).bgr()
    assert np.abs(image[9, 9] - by_formula(yuv, *MATRICES[6], full=True)).max() <= 3


def test_a_size_is_converted_once_for_all_threads() -> None:
    class Counting(ColourConverter):
        calls = 0

        def bgr(self, frame, width, height):
            self.calls += 1
            return super().bgr(frame, width, height)

    converter = Counting()
    shared = AvPicture(plain(640, 360, (110, 100, 160)), converter)
    images: list[np.ndarray] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait(10)
        images.append(shared.bgr(320, 180))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert converter.calls == 1
    assert all(image is images[0] for image in images)
    shared.bgr()
    assert converter.calls == 2


def test_pictures_of_one_camera_converted_in_many_threads_do_not_mix() -> None:
    converter = ColourConverter()
    wrong: list[int] = []

    def work(luma: int) -> None:
        for n in range(40):
            size = (320, 180) if n % 2 else (200, 112)
            image = AvPicture(plain(640, 360, (luma, 128, 128)), converter).bgr(*size)
            if np.abs(image - (luma - 16) * 255 / 219).max() > 4:
                wrong.append(luma)

    threads = [threading.Thread(target=work, args=(luma,)) for luma in (40, 90, 140, 190)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_sizes_below_one_are_refused() -> None:
    shared = AvPicture(plain(64, 64, (16, 128, 128)), ColourConverter())
    for size in [(0, 5), (5, 0), (-1, 5)]:
        with pytest.raises(ValueError, match="cannot be"):
            shared.bgr(*size)


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a rotation into the track header of an MP4, as a phone does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version and flags 4, times, id and duration 20, rest 16
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "quarters"),  # quarter turns counter-clockwise that make the picture upright
    [((1, 0, 0, 1), 0), ((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_rotation_of_phones_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], quarters: int
) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1)
    (upright,) = read(path)
    (frame,) = read(turned(path, matrix))
    wanted = np.rot90(upright.picture.bgr(), quarters)
    assert (frame.picture.height, frame.picture.width) == wanted.shape[:2]
    image = frame.picture.bgr()
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    assert np.array_equal(image, wanted)
    small = frame.picture.bgr(frame.picture.width // 2, frame.picture.height // 2)
    assert small.shape == (frame.picture.height // 2, frame.picture.width // 2, 3)


def test_a_picture_outlives_its_container(tmp_path: Path) -> None:
    frames = read(make_clip(tmp_path / "a.mp4", frames=12))
    (tmp_path / "a.mp4").unlink()
    assert bar_of(frames[7].picture.bgr(160, 120)) == 7


def test_stop_ends_a_file_between_frames(tmp_path: Path) -> None:
    stop = threading.Event()
    seen = 0
    for _ in source(make_clip(tmp_path / "a.mp4", frames=25)).frames(stop):
        seen += 1
        if seen == 5:
            stop.set()
    assert seen == 5
    assert list(source(tmp_path / "a.mp4").frames(stop)) == []


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "error"), (b"no video at all" * 99, "error"), (None, "not_found")]
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceLost) as lost:
        read(path)
    assert lost.value.reason == reason
    assert lost.value.__context__ is None
    assert str(tmp_path) not in str(lost.value)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(SourceLost) as lost:
            read(path)
        assert lost.value.reason == "not_found"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(SourceLost) as lost:
        read(path)
    assert lost.value.reason == "no_video"


def test_too_large_pictures_are_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2, width=640, height=480)
    with pytest.raises(SourceLost) as lost:
        read(path, max_pixels=640 * 480 - 1)
    assert lost.value.reason in ("too_large", "error")
    assert len(read(path, max_pixels=642 * 482)) == 2


def test_damaged_packets_are_counted_and_survived(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=60)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    for at in rng.integers(len(data) // 4, len(data), 150):
        if at % 188 > 30:  # spare the packet headers
            data[at] ^= 0x5A
    path.write_bytes(data)
    damaged = source(path)
    frames = list(damaged.frames(threading.Event()))
    assert damaged.decode_errors > 0
    assert [f.index for f in frames] == list(range(len(frames)))
    assert len(frames) >= 10


def test_pictures_flagged_as_damaged_are_dropped_and_counted(tmp_path: Path) -> None:
    good, bad = (SimpleNamespace(is_corrupt=flag) for flag in (False, True))
    stream = SimpleNamespace(index=0, decode=lambda packet: [bad, good])
    damaged = source(tmp_path / "a.mp4")
    assert damaged._decode(SimpleNamespace(stream_index=0), stream) == [good]
    assert damaged.decode_errors == 1


def test_urls_and_liveness_must_agree() -> None:
    for text, live in [("rtsp://a/b", False), ("a.mp4", True), ("webcam:0", False)]:
        with pytest.raises(ValueError, match="live"):
            PyAvSource(SourceUrl(text), camera="door", live=live)


def test_many_lives_leak_no_file_or_thread(tmp_path: Path) -> None:
    good = source(make_clip(tmp_path / "a.mp4", frames=3))
    bad = source(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").write_bytes(b"x" * 5000)

    def live_once() -> None:
        assert len(list(good.frames(threading.Event()))) == 3
        half = good.frames(threading.Event())
        next(half)
        half.close()
        with pytest.raises(SourceLost):
            list(bad.frames(threading.Event()))

    live_once()
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(20):
        live_once()
    assert (len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == before


@pytest.mark.parametrize("matrix", range(20))
def test_no_colour_matrix_a_stream_may_name_stops_the_conversion(matrix):
    frame = av.VideoFrame(64, 48, "yuv420p")
    frame.colorspace = matrix
    picture = AvPicture(frame, ColourConverter())
    assert picture.bgr(32, 24).shape == (24, 32, 3)
