"""The tests' own RTSP server: what it delivers is the file, bit by bit."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.rtsp

FRAMES = 40
FPS = 30
OPEN = {"rtsp_transport": "tcp", "analyzeduration": "100000"}
LIMITS = (10.0, 5.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """40 noisy frames, no two alike, 30 a second, a key frame every 16."""
    path = tmp_path_factory.mktemp("clip") / "noise.mp4"
    noise = np.random.default_rng(7)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"bf": "0", "g": "16", "x264-params": "slices=1:sliced-threads=0"}
        for index in range(FRAMES):
            picture = np.full((96, 160, 3), 6 * index, np.uint8)
            picture[::4, ::4] = noise.integers(0, 255, (24, 40, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


def luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()


def pictures(url: str, count: int, **options: str) -> list[NDArray[np.uint8]]:
    """Up to ``count`` decoded luma planes, fewer where the stream ends before."""
    found = []
    with av.open(url, options=OPEN | options, timeout=LIMITS) as camera:
        for frame in camera.decode(video=0):
            found.append(luma(frame))
            if len(found) == count:
                break
    return found


def position(picture: NDArray[np.uint8], reference: list[NDArray[np.uint8]]) -> int:
    """Where ``picture`` lies in the file; -1 when it is not in it."""
    return next((n for n, one in enumerate(reference) if np.array_equal(one, picture)), -1)


@pytest.fixture(scope="module")
def reference(clip) -> list[NDArray[np.uint8]]:
    with av.open(str(clip)) as file:
        return [luma(frame) for frame in file.decode(video=0)]


def test_the_clip_has_no_two_frames_alike(reference):
    assert len(reference) == FRAMES
    assert [position(one, reference) for one in reference] == list(range(FRAMES))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_delivers_the_file_bit_by_bit_over_the_seam_of_the_loop(
    rtsp_server, clip, reference, transport
):
    with rtsp_server(clip, transport=transport) as server:
        assert server.frames == FRAMES
        started_at = time.monotonic()
        received = pictures(server.url(), 70, rtsp_transport=transport)
        took_s = time.monotonic() - started_at
    positions = [position(one, reference) for one in received]
    first = positions[0]
    assert positions == [(first + n) % FRAMES for n in range(70)]
    assert took_s > 50 / FPS  # in real time, not as fast as it can


def test_once_ends_with_the_file_and_starts_anew_for_the_next_client(rtsp_server, clip, reference):
    with rtsp_server(clip) as server:
        for _ in range(2):
            received = pictures(server.url("once"), 1000)
            assert [position(one, reference) for one in received] == list(range(FRAMES))


def test_asks_for_the_password(rtsp_server, clip):
    with rtsp_server(clip, user="cam", password="s3cret/@:") as server:
        assert len(pictures(server.url(), 3)) == 3
        for url in (
            server.url(credentials=False),
            f"rtsp://cam:wrong@127.0.0.1:{server.port}/loop",
        ):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                pictures(url, 1)


def test_serves_only_the_transport_it_was_told(rtsp_server, clip):
    with rtsp_server(clip, transport="udp") as server, pytest.raises(OSError):
        pictures(server.url(), 1, rtsp_transport="tcp")
    with rtsp_server(clip, transport="both") as server:
        assert len(pictures(server.url(), 3, rtsp_transport="tcp")) == 3
        assert len(pictures(server.url(), 3, rtsp_transport="udp")) == 3


def test_a_paused_server_sends_nothing_and_a_resumed_one_goes_on(rtsp_server, clip):
    with (
        rtsp_server(clip) as server,
        av.open(server.url(), options=OPEN, timeout=(10.0, 1.0)) as camera,
    ):
        frames = camera.decode(video=0)
        for _ in range(5):
            next(frames)
        server.pause()
        with pytest.raises(av.error.ExitError):
            for _ in range(10 * FRAMES):
                next(frames)
        server.resume()
        assert len(pictures(server.url(), 3)) == 3


def test_a_killed_server_ends_the_stream_and_comes_back_on_its_port(rtsp_server, clip):
    with rtsp_server(clip) as server:
        with av.open(server.url(), options=OPEN, timeout=LIMITS) as camera:
            frames = camera.decode(video=0)
            next(frames)
            server.kill()
            rest = sum(1 for _ in frames)
        assert rest < 10 * FRAMES
    with rtsp_server(clip, port=server.port) as again:
        assert again.port == server.port
        assert len(pictures(again.url(), 3)) == 3


def test_says_why_it_did_not_start(rtsp_server, tmp_path):
    with (
        pytest.raises(RuntimeError, match="cannot be read as MP4"),
        rtsp_server(tmp_path / "no.mp4"),
    ):
        pass
