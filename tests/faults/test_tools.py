"""The tools that judge others are judged first: each must be able to say no."""

import base64
import mmap
import os
import socket
import time
from urllib.parse import quote

import pytest

from tests.faults.clips import moving, people
from tests.faults.oracle import worst_rate
from tests.faults.passwords import SECRET, USER, Auth, encoded_secret, secrets_in
from tests.faults.process import usage, words
from tests.faults.program import Ended, Sample
from tests.faults.proxy import FaultProxy
from tests.faults.record import Record
from tests.faults.server import ScriptedCamera


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp://{USER}:{SECRET}@host",
        f"rtsp://{USER}@host",
        encoded_secret(),
        quote(encoded_secret()),
        *(base64.b64encode(("x" * pad + f"{USER}:{SECRET}").encode()).decode() for pad in range(3)),
        *(base64.b64encode(("x" * pad + USER + ":x").encode()).decode() for pad in range(3)),
    ],
)
def test_the_secret_is_found_in_every_shape(text):
    assert secrets_in(f"before {text} after")


def test_nothing_is_found_where_nothing_is():
    assert not secrets_in("rtsp://***@127.0.0.1:554/live and a Vogel, a Nacht, " + "Zm9v" * 100)


def test_a_record_fails_beyond_its_bound():
    record = Record("1", "a", "b")
    record.measure("fine", 1.0, at_most=1.0)
    assert record.as_json()["pass"]
    record.measure("bad", 1.01, at_most=1.0)
    record.measure("nothing", float("nan"), at_most=1.0)
    assert len(record.failures) == 2
    assert not record.as_json()["pass"]


def test_the_slowest_five_seconds_are_found():
    def sample(tenth: int, frames: int) -> Sample:
        camera = {"ledger": {"settled": {"detected": frames}}}
        return Sample(tenth / 10, {"a": camera}, usage(0))

    frames, samples = 0, []
    for tenth in range(300):
        frames += 0 if 100 <= tenth < 125 else 2  # 2.5 s of nothing
        samples.append(sample(tenth, frames))
    assert worst_rate(samples, "a", 0, 30) == pytest.approx(10.0, rel=0.05)
    assert worst_rate(samples[:100], "a", 0, 30) == pytest.approx(20.0, rel=0.05)


def test_the_printed_ledger_is_read():
    out = (
        "  camera   captured   detected   tracked   skipped   dropped   in flight   closes   why\n"
        "  door            9          5         0         2         1           1      yes    x 1\n"
        "  yard            9          5         0         2         1           0   NO, 1 lost\n"
    )
    assert Ended(0, 1.0, out, "").ledger() == {"door": (1, True), "yard": (0, False)}


def test_this_process_is_measured():
    used = usage(os.getpid())
    assert 2**20 < used.own < used.rss
    with mmap.mmap(-1, 2**24) as kept:  # not the C library's: it may have freed pages to hand out
        kept.write(b"x" * len(kept))
        assert usage(os.getpid()).own - used.own > 2**23
    assert used.threads >= 1
    assert any("pytest" in text or "python" in text for text in words(os.getpid()))


@pytest.mark.parametrize("clip", [moving(), moving(codec="H265"), people(640, 360)])
def test_clips_begin_with_their_parameters(clip):
    assert len(clip.units) == 20
    assert clip.sets()
    assert all(len(part) <= 1400 for part in clip.payloads(0))
    assert len(clip.payloads(0, sets=False)) == len(clip.payloads(0)) - len(clip.sets())


def test_passwords_are_checked():
    auth = Auth("basic", refusals=1)
    right = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    assert not auth.accepts("DESCRIBE", "")
    assert not auth.accepts("DESCRIBE", "Basic d3Jvbmc6d3Jvbmc=")
    assert [auth.accepts("DESCRIBE", right) for _ in range(3)] == [False, True, True]
    assert auth.tries == 4


def _ask(port: int) -> socket.socket:
    asking = socket.create_connection(("127.0.0.1", port), 5.0)
    asking.sendall(b"OPTIONS rtsp://x/ RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    return asking


def test_the_proxy_carries_freezes_and_cuts():
    with ScriptedCamera() as camera, FaultProxy(camera.port) as proxy:
        with _ask(proxy.port) as asking:
            assert asking.recv(4096).startswith(b"RTSP/1.0 200 OK")
            proxy.mode = "freeze"
            asking.sendall(b"OPTIONS rtsp://x/ RTSP/1.0\r\nCSeq: 2\r\n\r\n")
            asking.settimeout(0.5)
            with pytest.raises(TimeoutError):
                asking.recv(4096)
            asking.settimeout(5.0)
            proxy.cut("reset")
            with pytest.raises(ConnectionResetError):
                asking.recv(4096)
        proxy.mode = "refuse"
        with pytest.raises(ConnectionResetError), _ask(proxy.port) as asking:
            asking.recv(4096)
            asking.recv(4096)
        assert len(proxy.dials) == 2


def test_a_camera_goes_and_comes_back_at_its_port():
    with ScriptedCamera() as camera:
        port = camera.port
        camera.down()
        with pytest.raises(ConnectionRefusedError):
            _ask(port)
        camera.heal()
        with _ask(port) as asking:
            assert asking.recv(4096).startswith(b"RTSP/1.0 200 OK")
        assert camera.said("OPTIONS", time.monotonic() - 5)
