from __future__ import annotations

import errno

import av
import pytest

from streamer.capture.reasons import too_large, unsupported, why

SECRET = "rtsp://cam:hunter2@10.0.0.1/x"


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("HTTPUnauthorizedError", -0x31303408, "auth"),
        ("HTTPForbiddenError", -0x33303408, "auth"),
        ("HTTPNotFoundError", -0x34303408, "not_found"),
        ("FileNotFoundError", errno.ENOENT, "not_found"),
        ("ConnectionRefusedError", errno.ECONNREFUSED, "refused"),
        ("ConnectionResetError", errno.ECONNRESET, "reset"),
        ("BrokenPipeError", errno.EPIPE, "reset"),
        ("ExitError", 1414092869, "stall"),
        ("TimeoutError", errno.ETIMEDOUT, "stall"),
        ("EOFError", 541478725, "eof"),
        ("InvalidDataError", 1094995529, "error"),
        ("OSError", errno.EHOSTUNREACH, "unreachable"),
        ("OSError", errno.EIO, "unreachable"),
        ("PermissionError", errno.EPERM, "error"),
    ],
)
def test_each_error_of_pyav_has_a_reason(name: str, number: int, reason: str) -> None:
    error = getattr(av.error, name)(abs(number), "text", SECRET)
    found, words = why(error)
    assert found == reason
    assert "hunter2" not in words
    assert ";" in words, "it says what to do"


def test_a_file_sends_nothing() -> None:
    for name, number in (("InvalidDataError", 1094995529), ("FileNotFoundError", errno.ENOENT),
                         ("PermissionError", errno.EPERM)):  # fmt: skip
        error = getattr(av.error, name)(abs(number), "text", SECRET)
        reason, words = why(error, live=False)
        assert reason == why(error)[0]
        assert not any(word in words for word in ("sent", "stream", "address", "hunter2"))
        assert ";" in words


def test_refusals_name_the_camera_and_the_remedy() -> None:
    assert too_large("10.0.0.1:554", 99, 88, 77).reason == "too_large"
    assert "10.0.0.1:554 sends 99x88 pictures and 77 pixels" in str(
        too_large("10.0.0.1:554", 99, 88, 77)
    )
    lost = unsupported("10.0.0.1:554", "magicyuv", {"hevc", "h264"})
    assert lost.reason == "unsupported_codec"
    assert str(lost).endswith("one of h264, hevc")
