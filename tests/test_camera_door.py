"""By what rules cameras are changed over HTTP."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from streamer.camera_door import OpenCameras
from streamer.capture.reach import Reach
from streamer.config import Camera
from streamer.errors import ConfigError
from streamer.flow.channel import Closed
from streamer.web.cameras_api import CameraFault

ANYWHERE = Reach()
CANARY = "canary-Passw0rd"


class FakeRoster:
    def __init__(self) -> None:
        self.there: dict[str, tuple[Camera, Reach | None]] = {}
        self.fails: Exception | None = None

    def lines(self) -> list[Any]:
        return [SimpleNamespace(name=n, camera=c, reach=r) for n, (c, r) in self.there.items()]

    def add(self, name: str, camera: Camera, reach: Reach, *, retune: bool) -> None:
        assert not retune
        if self.fails is not None:
            raise self.fails
        self.there[name] = camera, reach

    def replace(self, name: str, camera: Camera, reach: Reach) -> None:
        self.there[name] = camera, reach

    def remove(self, name: str, *, retune: bool) -> None:
        del self.there[name]


class Names:
    """A resolver: what each name stands for."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        if host in self.names:
            return [(0, 0, 0, "", (address, port)) for address in self.names[host]]
        return socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **options)


def door(
    roster: FakeRoster, *, sources: tuple[str, ...] = ("network", "test"), reach: Reach = ANYWHERE,
    **names: list[str],
) -> OpenCameras:  # fmt: skip
    return OpenCameras(
        roster,
        roster,
        sources=sources,
        reach=reach,
        look_up=Names(**names),  # type: ignore[arg-type]
    )


def refused(opened: OpenCameras, source: str, **more: Any) -> CameraFault:
    with pytest.raises(CameraFault) as fault:
        opened.add("a", {"source": source, **more})
    assert CANARY not in str(fault.value)
    assert "\n" not in str(fault.value)
    return fault.value


def test_a_camera_is_added_with_the_addresses_it_may_have() -> None:
    roster, reach = FakeRoster(), Reach((ip_network("10.0.0.0/8"),))
    opened = door(roster, reach=reach, cam=["10.1.2.3"])
    opened.add("a", {"source": f"rtsp://u:{CANARY}@cam/x", "every": 2})
    camera, kept = roster.there["a"]
    assert (camera.every, kept) == (2, reach)
    described = opened.described("a")
    assert described["from"] == "http"
    assert CANARY not in str(described)
    assert opened.put("a", {"source": "rtsp://10.0.0.1/x"}) is False
    assert opened.put("b", {"source": "rtsp://10.0.0.1/x"}) is True
    opened.remove("a")
    for change in (opened.remove, opened.pause, opened.resume, opened.described):
        with pytest.raises(CameraFault) as fault:
            change("a")
        assert fault.value.status == 404


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("file:///etc/passwd", 403),
        ("${HOME}", 403),  # a file of that name: nothing is taken from the environment
        ("/etc/passwd", 403),
        ("clip.mp4", 403),
        ("webcam:0", 403),
        ("/dev/video0", 403),
        ("rtsp://127.0.0.1/x", 403),
        ("rtsp://127.1/x", 403),
        ("rtsp://2130706433/x", 403),
        ("rtsp://0x7f000001/x", 403),
        ("rtsp://0177.0.0.1/x", 403),
        ("rtsp://0/x", 403),
        ("rtsp://[::1]/x", 403),
        ("rtsp://[::ffff:127.0.0.1]/x", 403),
        ("http://169.254.169.254/latest", 403),
        ("rtsp://inside/x", 403),
        ("rtsp://both/x", 403),
        ("synthetic:?fps=240&size=8192x8192", 403),
        ("synthetic:?fps=31&size=1920x1080", 403),
        ("concat:/etc/hosts|/etc/passwd", 422),
        ("gopher://10.0.0.1/", 422),
        ("rtsp:10.0.0.1/x", 422),
        (f"rtsp://u:{CANARY}@10.0.0.1:99999/x", 422),
        ("", 422),
    ],
)
def test_a_source_that_may_not_be(source: str, status: int) -> None:
    opened = door(FakeRoster(), inside=["127.0.0.1"], both=["8.8.8.8", "127.0.0.1"])
    assert refused(opened, source).status == status


def test_what_was_allowed_may_be() -> None:
    roster = FakeRoster()
    all_kinds = ("network", "test", "webcam", "file")
    opened = door(roster, sources=all_kinds, reach=Reach((ip_network("127.0.0.0/8"),)))
    for number, source in enumerate(
        (
            "clip.mp4", "webcam:0", "demo:", "rtsp://127.0.0.1/x",
            "synthetic:?fps=30&size=1920x1080",
        )
    ):  # fmt: skip
        opened.add(f"c{number}", {"source": source})
    assert len(roster.there) == 5
    assert refused(opened, "rtsp://10.0.0.1/x").status == 403


def test_a_name_that_nobody_knows_yet_is_asked_for_with_each_dial() -> None:
    roster = FakeRoster()
    door(roster).add("a", {"source": "rtsp://not-there-yet.example/x"})
    assert "a" in roster.there


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (None, {"source": "demo:"}),
        (7, {"source": "demo:"}),
        ("", {"source": "demo:"}),
        ("../x", {"source": "demo:"}),
        ("a/b", {"source": "demo:"}),
        ("a b", {"source": "demo:"}),
        ("A", {"source": "demo:"}),
        ("__proto__", {"source": "demo:"}),
        ("a\n", {"source": "demo:"}),
        ("a" * 64, {"source": "demo:"}),
        ("ä", {"source": "demo:"}),
        ("a", {}),
        ("a", {"source": 7}),
        ("a", {"source": None}),
        ("a", {"source": "demo:", "every": "2"}),
        ("a", {"source": "demo:", "every": 0}),
        ("a", {"source": "demo:", "every": True}),
        ("a", {"source": "demo:", "colour": CANARY}),
        ("a", {"source": "demo:", "input_size": 33}),
    ],
)
def test_values_that_cannot_be_are_422(name: Any, values: dict[str, Any]) -> None:
    with pytest.raises(CameraFault) as fault:
        door(FakeRoster()).add(name, values)
    assert fault.value.status == 422
    assert CANARY not in str(fault.value)


def test_an_input_that_would_take_seconds_is_for_the_file_alone() -> None:
    assert refused(door(FakeRoster()), "demo:", input_size=1312).status == 403
    door(FakeRoster()).add("a", {"source": "demo:", "input_size": 1280})


def test_no_file_may_be_named_by_the_way() -> None:
    said = refused(door(FakeRoster()), "rtsps://10.0.0.1/x", ca_file="/etc/shadow")
    assert (said.status, "ca_file" in str(said)) == (403, True)


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigError(["cameras: there are 1000"]), 409), (Closed("infer"), 503)]
)
def test_what_cannot_be_done_now_says_so(error: Exception, status: int) -> None:
    roster = FakeRoster()
    roster.fails = error
    assert refused(door(roster), "demo:").status == status
    roster.fails = None
    door(roster).add("a", {"source": "demo:"})
    assert refused(door(roster), "demo:").status == 409
