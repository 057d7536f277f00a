"""Cameras that answer, refuse, are silent, or are no network cameras; and no secret is sent."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from streamer.config import Camera
from streamer.doctor import cameras as doctor_cameras
from streamer.doctor.cameras import camera_finding, camera_findings
from streamer.doctor.finding import Finding

SECRET = "hunter2"


def look(source: str, folder: Path = Path("/"), dial_s: float = 2.0) -> Finding:
    found = camera_finding("door", Camera(source=source), folder, dial_s=dial_s)
    assert found.name == "camera door"
    assert (found.remedy == "") == (found.verdict == "good")
    assert SECRET not in f"{found.detail}{found.remedy}"
    return found


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_host_that_listens_is_good_and_is_sent_nothing(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        found = look(f"{scheme}://admin:{SECRET}@127.0.0.1:{port}/live?token={SECRET}")
        line, _ = server.accept()
        with line:
            line.settimeout(10)
            assert line.recv(100) == b""
    assert found.verdict == "good"
    assert f"127.0.0.1:{port}" in found.detail
    assert "the port of" in found.detail  # more is not known
    assert "`streamer check`" in found.detail


def test_a_host_that_refuses_is_bad(free_port: int) -> None:
    found = look(f"rtsp://admin:{SECRET}@127.0.0.1:{free_port}/live")
    assert found.verdict == "bad"
    assert "connection refused" in found.detail
    assert str(free_port) in found.detail


def silent_server() -> tuple[socket.socket, list[socket.socket]]:
    """A port whose queue of callers is full: it answers nobody."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    callers = []
    for _ in range(3):
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(server.getsockname())
        callers.append(caller)
    time.sleep(0.05)
    return server, callers


def test_silent_hosts_are_waited_for_together_and_not_for_long(tmp_path: Path) -> None:
    server, callers = silent_server()
    url = f"rtsp://admin:{SECRET}@127.0.0.1:{server.getsockname()[1]}/x"
    cameras = {f"cam{n}": Camera(source=url) for n in range(20)}
    began = time.monotonic()
    found = list(camera_findings(cameras, tmp_path, dial_s=1.0))
    took = time.monotonic() - began
    for one in (server, *callers):
        one.close()
    assert sorted(one.name for one in found) == sorted(f"camera {name}" for name in cameras)
    assert {one.verdict for one in found} == {"bad"}
    assert "did not answer within 1 s" in found[0].detail
    assert took < 10  # one after the other they would take 20


def named(monkeypatch: pytest.MonkeyPatch, resolve: object) -> None:
    monkeypatch.setattr(doctor_cameras.socket, "getaddrinfo", resolve)


def test_a_name_nobody_knows_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    named(monkeypatch, fail)
    assert "not a known host" in look(f"rtsp://u:{SECRET}@cam.example/x").detail


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    named(monkeypatch, lambda *_, **__: end.wait(30) and [])
    began = time.monotonic()
    assert "was not looked up in 0.3 s" in look("rtsp://cam.example/x", dial_s=0.3).detail
    assert time.monotonic() - began < 10
    end.set()


def test_the_second_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = [("127.0.0.1", free_port), server.getsockname()]
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        named(monkeypatch, lambda *_, **__: [(*kind, address) for address in addresses])
        assert look("rtsp://cam.example/x").verdict == "good"


def test_files(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("pictures")
    (tmp_path / "empty.mp4").touch()
    assert look("clip.mp4", tmp_path).verdict == "good"
    assert look(f"file://{tmp_path}/clip.mp4").verdict == "good"
    assert str(tmp_path) in look("no.mp4", tmp_path).remedy
    assert "is not a file" in look(str(tmp_path)).detail
    assert "is empty" in look("empty.mp4", tmp_path).detail


def test_files_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_text("pictures")
    monkeypatch.setattr(doctor_cameras.os, "access", lambda *_: False)
    assert "permissions" in look("clip.mp4", tmp_path).remedy

    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert "Permission denied" in look("clip.mp4", tmp_path).detail


def test_webcams(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "/dev/video987 is not there" in look("webcam:987").detail
    assert "--device" in look("/dev/video987").remedy
    monkeypatch.setattr(Path, "exists", lambda self, **_: True)
    monkeypatch.setattr(doctor_cameras.os, "access", lambda path, mode: mode == os.R_OK)
    assert "group video" in look("webcam:987").remedy
    monkeypatch.setattr(doctor_cameras.os, "access", lambda path, mode: True)
    assert look("webcam:987").verdict == "good"


@pytest.mark.parametrize("source", ["demo:", "synthetic:?size=320x240"])
def test_made_pictures_are_always_there(source: str) -> None:
    assert look(source).verdict == "good"
