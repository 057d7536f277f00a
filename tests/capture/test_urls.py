from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.capture.urls import (
    BadUrl,
    DemoOptions,
    Endpoint,
    SyntheticOptions,
    canonical_url,
    check_url,
    demo_options,
    endpoint_of,
    file_path,
    scheme_of,
    synthetic_options,
    webcam_device,
)
from streamer.types import redact

GOOD = [
    "rtsp://camera/stream",
    "RTSP://user:p%40ss@10.0.0.1:8554/a?b=c",
    "rtsps://[fe80::1]/x",
    "http://camera.local:8080/video.mjpg",
    "https://camera/x",
    "clips/door.mp4",
    "/srv/clips/my door: left.mp4",
    "./clip:1.mp4",
    "file:clip.mp4",
    "file:///srv/a%20b.mp4",
    "file://localhost/srv/a.mp4",
    "webcam:0",
    "/dev/video2",
    "/dev/v4l/by-id/usb-cam-index0",
    "synthetic:",
    "synthetic:?size=640x360&fps=12.5&frames=3&live=0",
    "demo:",
    "Demo:?delay=2.5",
]

BAD = {
    "": "empty",
    " rtsp://camera/x": "space",
    "rtsp://camera/a b": "space",
    "rtsp:camera/x": "two slashes",
    "rtsp:/camera/x": "two slashes",
    "rtsp://": "host is missing",
    "rtsp:///x": "host is missing",
    "rtsp://user:secret@/x": "host is missing",
    "rtsp://camera:0/x": "port",
    "rtsp://camera:99999/x": "port",
    "rtsp://camera:abc/x": "port",
    "rtsp://user:se/cret@camera/x": "percent-encoded",
    "rtsp://user:12/secret@camera/x": "percent-encoded",
    "rtsp://cam,era/x": "not a name",
    "rtsp://[::1/x": "cannot be read",
    "rtsp://kamerä/x": "not a name",
    "rtsp://camera\\x": "backslash",
    "rtsp://camera/\nx": "printed",
    "rtsp://camera/\x00": "printed",
    "rtsp://camera/\ud800": "printed",
    "rtsp://camera/" + "x" * 2048: "longer",
    "rstp://camera/x": "write rtsp://, or one of",
    "hunter2://camera/x": "the scheme is not known; write one of",
    "concat:a.mp4|b.mp4": "not known",
    "subfile,,start,0,end,9,,:a.mp4": None,  # a bare path: the comma is no part of a scheme
    "pipe:0": "not known",
    "tcp://camera:1": "not known",
    "data:text/plain,x": "not known",
    "lavfi:testsrc": "not known",
    "user:secret@camera": "scheme is not known",
    "file://server/share.mp4": "no host",
    "file:": "no name",
    "file:///a%00b": "printed",
    "webcam:": "webcam:0",
    "webcam:x": "webcam:0",
    "webcam:-1": "webcam:0",
    "/dev/v4l/../zero": "climb",
    "synthetic:size=640x360": "question mark",
    "synthetic:?size=1x1": "size",
    "synthetic:?size=99999x99999": "size",
    "synthetic:?fps=0": "fps",
    "synthetic:?fps=nan": "fps",
    "synthetic:?frames=0": "frames",
    "synthetic:?live=2": "live",
    "synthetic:?colour=red": "unknown",
    "synthetic:?fps=1&fps=2": "twice",
    "demo:?delay=-1": "delay",
    "demo:?delay=inf": "delay",
    "demo:?fps=0": "fps",
    "demo:?speed=2": "unknown",
}


@pytest.mark.parametrize("text", GOOD)
def test_good_sources_pass(text: str) -> None:
    assert check_url(text) is None


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_bad_sources_are_named_in_one_sentence(text: str, words: str | None) -> None:
    problem = check_url(text)
    if words is None:
        assert problem is None
        return
    assert problem is not None
    assert words in problem
    assert "\n" not in problem
    assert "secret" not in problem
    assert redact(f"cameras.a.source: {problem}") == f"cameras.a.source: {problem}"  # in the log


@given(st.text(max_size=200) | st.text("rtsphfile:/@[]?#%&=.0123456789 dmov", max_size=60))
@example("http://[")
@example("http://a:\uff11/")  # a digit, but not ours
@example("rtsp://[::1%25eth0]/")
def test_no_text_makes_it_raise(text: str) -> None:
    problem = check_url(text)
    assert problem is None or problem
    if problem is None and scheme_of(text) in ("rtsp", "rtsps", "http", "https"):
        rebuilt = canonical_url(text)
        assert rebuilt.isascii()
        assert check_url(rebuilt) is None
        assert canonical_url(rebuilt) == rebuilt
        assert endpoint_of(rebuilt) == endpoint_of(text)


SECRET = "Hunter2Zz"


@given(
    st.sampled_from(["rtsp", "http", "RTSPS", "rstp", "ftp", "", "synthetic", "file", "webcam"]),
    st.sampled_from(["://", ":", ":/", "//"]),
    st.text("/?#@:%[] ab", max_size=4),
    st.text("/?#@:%[] ab", max_size=4),
    st.sampled_from(["host", "", "h:0", "h:x", "[::1", "h/x y", "h/?token=" + SECRET]),
)
def test_no_message_holds_the_password(
    scheme: str, slashes: str, before: str, after: str, tail: str
) -> None:
    text = f"{scheme}{slashes}user:{before}{SECRET}{after}@{tail}"
    problem = check_url(text)
    assert problem is None or SECRET.lower() not in problem.lower()


@given(st.text(min_size=1, max_size=20).filter(str.isprintable))
def test_percent_encoded_passwords_pass_through(password: str) -> None:
    encoded = quote(password, safe="")
    assert canonical_url(f"RTSP://user:{encoded}@Camera/x") == (
        f"rtsp://user:{encoded}@camera:554/x"
    )


def test_urls_are_rebuilt() -> None:
    assert canonical_url("HTTPS://Camera/a?b=c#frag") == "https://camera:443/a?b=c"
    assert canonical_url("rtsp://[::1]:8554") == "rtsp://[::1]:8554"
    assert str(endpoint_of("rtsps://[::1]/x")) == "[::1]:322"
    assert endpoint_of("http://u:p@h:81/") == Endpoint("h", 81)


def test_files_are_found_from_the_folder_of_the_configuration() -> None:
    folder = Path("/etc/streamer")
    assert file_path("clips/a.mp4", folder) == Path("/etc/streamer/clips/a.mp4")
    assert file_path("/srv/a.mp4", folder) == Path("/srv/a.mp4")
    assert file_path("file:a.mp4", folder) == Path("/etc/streamer/a.mp4")
    assert file_path("FILE:///srv/a%20b.mp4", folder) == Path("/srv/a b.mp4")
    assert file_path("a%20b.mp4", folder) == Path("/etc/streamer/a%20b.mp4")
    with pytest.raises(BadUrl):
        file_path("file:", folder)


def test_schemes_and_options() -> None:
    assert [scheme_of(t) for t in ("RTSP://a", "a.mp4", "/dev/video0", "/dev/null", "a b:c")] == [
        "rtsp", "file", "webcam", "file", "file",
    ]  # fmt: skip
    assert webcam_device("webcam:3") == 3
    assert webcam_device("/dev/video3") == "/dev/video3"
    assert synthetic_options("synthetic:") == SyntheticOptions()
    assert synthetic_options("synthetic:?size=640x360&fps=5&frames=7&live=0") == (
        SyntheticOptions(640, 360, 5.0, 7, live=False)
    )
    assert demo_options("demo:") == DemoOptions()
    assert demo_options("demo:?delay=2.5&fps=15") == DemoOptions(2.5, 15.0)
