"""Live streams that misbehave, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from streamer.capture.pyav import PyAvSource
from streamer.errors import SourceLost
from streamer.types import Frame, SourceUrl
from tests.capture.clips import access_units, bar_of, make_clip, picture
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

SECRET = "hunter2%40zz"


@pytest.fixture(scope="module")
def units() -> list[bytes]:
    return list(access_units(40))


def camera(port: int, *, scheme: str = "rtsp", path: str = "live", **options: object) -> PyAvSource:
    bounds = {"open_timeout_s": 2.0, "read_timeout_s": 1.5, "first_frame_s": 4.0} | options
    url = SourceUrl(f"{scheme}://cam:{SECRET}@127.0.0.1:{port}/{path}")
    return PyAvSource(url, camera="door", live=True, **bounds)


def one_life(source: PyAvSource, *, at_most: int = 10_000) -> tuple[list[Frame], SourceLost]:
    frames: list[Frame] = []
    with pytest.raises(SourceLost) as lost:
        for frame in source.frames(threading.Event()):
            frames.append(frame)
            assert len(frames) <= at_most
    assert SECRET not in str(lost.value)
    assert lost.value.__context__ is None  # no way back to an exception that holds the URL
    return frames, lost.value


def test_frames_come_in_order_and_stop_ends_them(units: list[bytes]) -> None:
    stop, frames = threading.Event(), []
    with ScriptedRtsp(Script(units)) as server:
        for frame in camera(server.port).frames(stop):
            frames.append(frame)
            if len(frames) == 30:
                stop.set()
    bars = [bar_of(f.picture.bgr()) for f in frames]
    assert bars == [n % 10 for n in range(30)]
    assert [f.index for f in frames] == list(range(30))
    times = [f.pts for f in frames if f.pts is not None]
    assert times == sorted(times)
    assert "Authorization" not in server.requests[0]  # not before the camera asks for it


@pytest.mark.parametrize("then", ["close", "reset"])
def test_the_end_of_a_live_stream_is_a_loss(units: list[bytes], then: str) -> None:
    with ScriptedRtsp(Script(units, stop_after=20, then=then)) as server:
        frames, lost = one_life(camera(server.port))
    assert lost.reason in ("eof", "reset")  # FFmpeg's RTSP shows a reset as an end
    assert len(frames) >= 19


@pytest.mark.parametrize("then", ["stall", "drip", "rtcp", "rubbish", "deaf"])
def test_a_frozen_camera_is_lost_after_the_read_timeout(units: list[bytes], then: str) -> None:
    with ScriptedRtsp(Script(units, stop_after=20, then=then)) as server:
        frames, lost = one_life(camera(server.port))
        ended_at = time.monotonic()
    assert lost.reason == "stall"
    assert len(frames) >= 19
    quiet_s = ended_at - frames[-1].captured_at
    assert 1.4 <= quiet_s < 2.9, "once the read timeout, not twice"
    gap_s = frames[-1].captured_at - frames[-2].captured_at
    assert gap_s < 1.0, "the picture FFmpeg had kept back is old: it must not come as a new one"


def test_a_camera_that_never_answers(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, silent=True)) as server:
        begun_at = time.monotonic()
        frames, lost = one_life(camera(server.port))
    assert (lost.reason, frames) == ("open_timeout", [])
    assert time.monotonic() - begun_at < 9.0


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_camera_that_falls_silent_while_it_is_dialled(units: list[bytes], method: str) -> None:
    with ScriptedRtsp(Script(units, silent_to=method)) as server:
        begun_at = time.monotonic()
        assert one_life(camera(server.port))[1].reason == "open_timeout"
    assert time.monotonic() - begun_at < 9.0


@pytest.mark.parametrize("slow_s", [0.3])
@pytest.mark.parametrize("fault", ["nothing", "no parameter sets", "nothing but reports", "noise"])
def test_the_first_picture_has_one_deadline_opening_included(
    units: list[bytes], fault: str, slow_s: float
) -> None:
    scripts = {
        "nothing": Script(units, stop_after=0, then="stall", slow_s=slow_s),
        "no parameter sets": Script(units, parameter_sets=False, slow_s=slow_s),
        "nothing but reports": Script(units, stop_after=0, then="rtcp", slow_s=slow_s),
        "noise": Script(units, codec="H265", slow_s=slow_s),  # which it is not
    }
    with ScriptedRtsp(scripts[fault]) as server:
        source = camera(server.port, read_timeout_s=5.0, first_frame_s=3.5)
        begun_at = time.monotonic()
        frames, lost = one_life(source)
        took_s = time.monotonic() - begun_at
    assert (lost.reason, frames) == ("no_frames", [])
    assert 3.4 <= took_s < 9.0
    assert (source.decode_errors > 5) is (fault == "no parameter sets")


def test_dialling_ends_with_that_deadline_too(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, silent=True)) as server:
        begun_at = time.monotonic()
        _, lost = one_life(camera(server.port, open_timeout_s=9.0, first_frame_s=1.5))
    assert lost.reason == "open_timeout"
    assert time.monotonic() - begun_at < 8.0


def test_a_camera_may_be_slower_to_start_than_to_go_on(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, wait_s=2.5)) as server:
        assert next(camera(server.port).frames(threading.Event())).index == 0


@pytest.mark.parametrize("then", ["stall", "rtcp", "rubbish"])
def test_every_orderly_close_says_farewell(units: list[bytes], then: str) -> None:
    with ScriptedRtsp(Script(units, stop_after=20, then=then)) as server:
        one_life(camera(server.port))
        assert server.gone.wait(5)
        assert server.methods()[-1] == "TEARDOWN"
    with ScriptedRtsp(Script(units)) as server:
        frames = camera(server.port).frames(threading.Event())
        next(frames)
        frames.close()
        assert server.gone.wait(5)
        assert server.methods()[-1] == "TEARDOWN"


def test_a_deaf_camera_does_not_hold_up_the_farewell(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, stop_after=20, then="deaf")) as server:
        frames = camera(server.port).frames(threading.Event())
        for frame in frames:
            if frame.index == 15:
                break
        begun_at = time.monotonic()
        frames.close()
        assert time.monotonic() - begun_at < 4.0


@pytest.mark.parametrize(
    ("status", "reason"),
    [("401 Unauthorized", "auth"), ("403 Forbidden", "auth"), ("404 Not Found", "not_found"),
     ("453 Not Enough Bandwidth", "error"), ("500 Broken", "error")],
)  # fmt: skip
def test_answers_of_the_camera(units: list[bytes], status: str, reason: str) -> None:
    with ScriptedRtsp(Script(units, status=status)) as server:
        _, lost = one_life(camera(server.port))
        tried = sum("Authorization" in request for request in server.requests)
    assert lost.reason == reason
    assert f"127.0.0.1:{server.port}" in str(lost)
    assert tried <= 1, "a password is tried once"


def test_a_digest_that_ffmpeg_cannot_do_is_named(units: list[bytes]) -> None:
    challenge = 'Digest realm="x", nonce="n", algorithm={}, qop="auth"'
    said = {}
    for algorithm in ("MD5", "SHA-256"):
        script = Script(units, status="401 No", challenge=challenge.format(algorithm))
        with ScriptedRtsp(script) as server:
            _, lost = one_life(camera(server.port))
            tried = sum("Authorization" in request for request in server.requests)
        assert lost.reason == "auth"
        assert tried == (algorithm == "MD5"), "what FFmpeg does decides what is said"
        said[algorithm] = str(lost)
    assert "SHA-256" in said["SHA-256"]
    assert "check both" in said["MD5"]


def test_a_redirect_in_a_circle_is_bounded(units: list[bytes]) -> None:
    target = "rtsp://127.0.0.1:{port}/live"
    with ScriptedRtsp(Script(units, status="302 Moved", redirect=target)) as server:
        begun_at = time.monotonic()
        assert one_life(camera(server.port))[1].reason == "open_timeout"
        assert time.monotonic() - begun_at < 8.0


@pytest.mark.parametrize("scheme", ["http", "https", "file", "tcp", "concat"])
def test_a_redirect_leads_to_cameras_only(units: list[bytes], scheme: str) -> None:
    target = scheme + "://127.0.0.1:{port}/live"
    with ScriptedRtsp(Script(units, status="302 Moved", redirect=target)) as server:
        assert one_life(camera(server.port))[1].reason == "error"
        assert server.connections == 1


@pytest.mark.parametrize("codec", ["MP4V-ES", "MPV", "X-MAGIC"])
def test_codecs_that_are_not_on_the_list(units: list[bytes], codec: str) -> None:
    with ScriptedRtsp(Script(units, codec=codec)) as server:
        frames, lost = one_life(camera(server.port))
    assert frames == []
    assert lost.reason == "unsupported_codec"


@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param(lambda n: 0, id="standing still"),
        pytest.param(lambda n: n * 3600 + (1 << 31 if n >= 20 else 0), id="leap"),
        pytest.param(lambda n: (1 << 32) - 20 * 3600 + n * 3600, id="wrap"),
        pytest.param(lambda n: 1 << 24 | (n * 3600 - (900_000 if n >= 20 else 0)), id="back"),
        pytest.param(lambda n: n * 2654435761, id="random"),
    ],
)
def test_the_streams_own_time_disturbs_nothing(
    units: list[bytes], stamp: Callable[[int], int]
) -> None:
    stop, frames = threading.Event(), []
    with ScriptedRtsp(Script(units, stamp=stamp)) as server:
        for frame in camera(server.port).frames(stop):
            frames.append(frame)
            behind = server.sent - len(frames)
            assert behind < 15, "no picture waits for a time to come"
            if len(frames) == 40:
                stop.set()
    assert [bar_of(f.picture.bgr()) for f in frames] == [n % 10 for n in range(40)]
    assert [f.index for f in frames] == list(range(40))
    stamps = [f.captured_at for f in frames]
    assert stamps == sorted(stamps)
    assert max(b - a for a, b in pairwise(stamps)) < 1.0


def test_sound_alone(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, audio_only=True)) as server:
        assert one_life(camera(server.port))[1].reason == "no_video"
    assert not any(r.startswith("SETUP") for r in server.requests), "sound is never asked for"


def test_opening_does_not_wait_for_a_second_of_pictures(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, fps=25)) as server:
        next(camera(server.port).frames(threading.Event()))
        assert server.sent <= 15


def test_a_closed_port_and_an_unknown_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert one_life(camera(port))[1].reason == "refused"
    url = SourceUrl("rtsp://cam:x@no-such-camera.invalid/x")
    _, lost = one_life(PyAvSource(url, camera="door", live=True))
    assert lost.reason == "dns"
    assert "no-such-camera.invalid:554" in str(lost)


def test_pictures_over_the_limit_are_refused(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units)) as server:
        frames, lost = one_life(camera(server.port, max_pixels=320 * 240 - 1))
    assert (lost.reason, frames) == ("too_large", [])


def test_pictures_that_grow_over_the_limit_are_never_decoded(units: list[bytes]) -> None:
    larger = list(access_units(10, width=640, height=480))
    with ScriptedRtsp(Script([*units[:10], *larger])) as server:
        source = camera(server.port, max_pixels=320 * 240)
        sizes = set()
        for frame in source.frames(threading.Event()):
            sizes.add((frame.picture.width, frame.picture.height))
            if frame.index == 15:  # small ones again, after ten that were too large
                break
    assert sizes == {(320, 240)}
    assert source.decode_errors >= 9


def test_a_change_to_giant_pictures_is_refused(units: list[bytes]) -> None:
    larger = list(access_units(10, width=640, height=480))
    with ScriptedRtsp(Script([*units[:10], *larger * 40])) as server:
        source = camera(server.port, max_pixels=320 * 240, read_timeout_s=5.0)
        frames, lost = one_life(source)
        ended_at = time.monotonic()
    assert lost.reason == "too_large"
    assert {f.picture.width for f in frames} == {320}
    assert ended_at - frames[-1].captured_at < 2.5


def test_pictures_may_change_their_size(units: list[bytes]) -> None:
    larger = list(access_units(10, width=640, height=480))
    seen = []
    with ScriptedRtsp(Script([*units[:10], *larger])) as server:
        for frame in camera(server.port).frames(threading.Event()):
            image = frame.picture.bgr(320, 240)
            seen.append((frame.picture.width, bar_of(image)))
            if frame.index == 19:
                break
    assert seen == [(320, n) for n in range(10)] + [(640, n) for n in range(10)]


def test_stop_before_and_during_opening(units: list[bytes]) -> None:
    stop = threading.Event()
    stop.set()
    with ScriptedRtsp(Script(units, silent=True)) as server:
        assert list(camera(server.port).frames(stop)) == []
        assert server.requests == []


def test_failed_lives_leak_no_socket_or_thread(units: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ScriptedRtsp(Script(units, stop_after=2, fps=500)) as short:
        sources = [camera(port), camera(short.port)]

        def fds() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        for source in sources:
            one_life(source)
        before = fds()
        for _ in range(20):
            for source in sources:
                one_life(source)
        deadline = time.monotonic() + 10
        while fds() > before and time.monotonic() < deadline:
            threading.Event().wait(0.05)  # the server closes its side
        assert fds() <= before


class _Http(BaseHTTPRequestHandler):
    """/mjpeg as cameras do it, /clip.ts, /evil.m3u8 and /login."""

    clip: Path
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/login":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        other = self.clip.with_name(self.path[1:])
        bodies = {
            self.path: other.read_bytes() if other.is_file() else b"",
            "/evil.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile://" + bytes(self.clip) + b"\n#EXT-X-ENDLIST",
            "/evil.txt": b"ffconcat version 1.0\nfile http://127.0.0.1:1/x\n",
        }
        self.send_response(200)
        if bodies[self.path]:
            self.send_header("Content-Length", str(len(bodies[self.path])))
            self.end_headers()
            self.wfile.write(bodies[self.path])
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for n in range(25):
            jpeg = cv2.imencode(".jpg", picture(n, 320, 240))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.02)


@pytest.fixture
def http(tmp_path: Path) -> Iterator[int]:
    _Http.clip, _Http.asked = make_clip(tmp_path / "clip.ts", frames=30), []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Http) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("path", ["mjpeg", "clip.ts"])
def test_http_cameras(http: int, path: str) -> None:
    frames, lost = one_life(camera(http, scheme="http", path=path))
    assert lost.reason in ("eof", "reset")
    bars = [bar_of(f.picture.bgr()) for f in frames]
    assert len(bars) >= 23
    assert bars == [(bars[0] + n) % 10 for n in range(len(bars))]


def test_http_formats_and_codecs_are_a_short_list(http: int) -> None:
    make_clip(_Http.clip.with_name("a.avi"))
    make_clip(_Http.clip.with_name("b.ts"), codec="mpeg2video")
    assert one_life(camera(http, scheme="http", path="a.avi"))[0] == []
    frames, lost = one_life(camera(http, scheme="http", path="b.ts"))
    assert (lost.reason, frames) == ("unsupported_codec", [])


def test_a_file_cannot_fetch_from_the_network(http: int, tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n"
        f"http://127.0.0.1:{http}/clip.ts\n#EXT-X-ENDLIST\n"
    )
    source = PyAvSource(SourceUrl(str(path)), camera="door", live=False)
    with pytest.raises(SourceLost):
        list(source.frames(threading.Event()))
    assert _Http.asked == []


@pytest.mark.parametrize("path", ["evil.m3u8", "evil.txt"])
def test_http_cannot_reach_files_or_scripts(http: int, path: str) -> None:
    frames, _ = one_life(camera(http, scheme="http", path=path))
    assert frames == []


def test_http_login(http: int) -> None:
    assert one_life(camera(http, scheme="http", path="login"))[1].reason == "auth"
