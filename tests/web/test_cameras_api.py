"""The cameras over HTTP: what is answered, with a door that remembers what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest

import streamer.web.cameras_api
from streamer.web.cameras_api import CameraFault
from tests.web.clients import serve
from tests.web.synthetic import until


class Door:
    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.done: list[tuple[Any, ...]] = []
        self.settled = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def add(self, name: object, values: Mapping[str, Any]) -> None:
        self.go_on.wait(20)
        if name in self.machine.cameras:
            raise CameraFault(409, "is there already")
        if "source" not in values:
            raise CameraFault(422, "source: is required", "b: is wrong")
        self.done.append(("add", name, dict(values)))
        self.machine.cameras = (*self.machine.cameras, name)

    def put(self, name: str, values: Mapping[str, Any]) -> bool:
        there = name in self.machine.cameras
        self.done.append(("put", name, dict(values)))
        if not there:
            self.machine.cameras = (*self.machine.cameras, name)
        return not there

    def remove(self, name: str) -> None:
        self.described(name)
        self.machine.cameras = tuple(n for n in self.machine.cameras if n != name)

    def pause(self, name: str) -> None:
        self.described(name)
        self.done.append(("pause", name))

    def resume(self, name: str) -> None:
        self.described(name)
        self.done.append(("resume", name))

    def settle(self) -> None:
        self.settled += 1

    def described(self, name: str) -> dict[str, Any]:
        if name not in self.machine.cameras:
            raise CameraFault(404, "there is no camera of that name")
        return {"from": "file", "settings": {"source": "rtsp://***@10.0.0.7/a"}}


@pytest.fixture
def door(machine):
    return Door(machine)


@pytest.fixture
def api(live, machine, door):
    with (
        serve(live, machine, cameras=door) as server,
        httpx.Client(base_url=f"http://{server.address}/api/v1") as client,
    ):
        yield client


def test_cameras_are_read_together_and_alone(api):
    cameras = api.get("/cameras").json()["cameras"]
    assert [camera["name"] for camera in cameras] == ["door", "yard", "hall"]
    door = api.get("/cameras/door").json()
    assert door["ledger"] == cameras[0]["ledger"]
    assert door["from"] == "file"
    assert door["settings"] == {"source": "rtsp://***@10.0.0.7/a"}
    assert api.get("/ledger").json()["cameras"]["yard"] == cameras[1]["ledger"]
    assert api.get("/cameras/attic").status_code == 404


def test_a_camera_comes_is_changed_paused_and_goes(api, door):
    made = api.post("/cameras", json={"name": "attic", "source": "demo:"})
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/cameras/attic")
    assert made.json()["name"] == "attic"
    assert api.post("/cameras/roof", json={"source": "demo:"}).status_code == 201
    assert api.put("/cameras/roof", json={"source": "demo:", "every": 2}).status_code == 200
    assert api.put("/cameras/cellar", json={"source": "demo:"}).status_code == 201
    assert api.post("/cameras/roof/pause").json()["name"] == "roof"
    assert api.post("/cameras/roof/resume").status_code == 200
    assert api.delete("/cameras/roof").json() == {"removed": "roof"}
    assert api.delete("/cameras/roof").status_code == 404
    assert api.post("/cameras/roof/pause").status_code == 404
    assert door.done == [
        ("add", "attic", {"source": "demo:"}),
        ("add", "roof", {"source": "demo:"}),
        ("put", "roof", {"source": "demo:", "every": 2}),
        ("put", "cellar", {"source": "demo:"}),
        ("pause", "roof"),
        ("resume", "roof"),
    ]
    until(lambda: door.settled > 0)


def test_a_change_is_answered_with_the_camera_as_it_left_it(api, door, monkeypatch):
    """And not as a removal that was asked for meanwhile leaves it."""
    described, asked = door.described, threading.Event()

    def slowly(name: str) -> dict[str, Any]:
        asked.set()
        time.sleep(0.3)
        return described(name)

    monkeypatch.setattr(door, "described", slowly)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(api.put, "/cameras/attic", json={"source": "demo:"})
        asked.wait(10)
        monkeypatch.setattr(door, "remove", lambda name: setattr(door.machine, "cameras", ()))
        assert api.delete("/cameras/attic").status_code == 200
        assert (made.result().status_code, made.result().json()["name"]) == (201, "attic")


def test_a_camera_that_the_file_removes_meanwhile_is_told_as_such(api, door, monkeypatch):
    monkeypatch.setattr(door, "put", lambda name, values: True)  # and it is gone again
    gone = api.put("/cameras/attic", json={"source": "demo:"})
    assert (gone.status_code, gone.json()["error"]) == (
        409, "it was done, and another change removed the camera meanwhile",
    )  # fmt: skip


def test_what_is_not_done_says_why(api):
    wrong = api.post("/cameras/attic", json={})
    assert (wrong.status_code, wrong.json()["error"]) == (
        422, "source: is required; b: is wrong",
    )  # fmt: skip
    assert api.post("/cameras/door", json={"source": "demo:"}).status_code == 409


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", "text/json"])
def test_a_change_is_json_and_says_so(api, kind):
    refused = api.post(
        "/cameras/attic", content=b'{"source": "demo:"}', headers={"content-type": kind}
    )
    assert refused.status_code == 415


def test_changes_are_made_one_at_a_time_and_few_wait(api, door, monkeypatch):
    monkeypatch.setattr(streamer.web.cameras_api, "MOST_CHANGES", 2)
    door.go_on.clear()
    with ThreadPoolExecutor(3) as pool:
        asked = [
            pool.submit(api.post, f"/cameras/new-{n}", json={"source": "demo:"}, timeout=30)
            for n in range(3)
        ]
        done, waiting = wait(asked, 30, return_when=FIRST_COMPLETED)
        assert [d.result().status_code for d in done] == [503]
        assert api.get("/cameras").status_code == 200  # reading goes on
        door.go_on.set()
        assert [w.result(30).status_code for w in waiting] == [201, 201]


def test_nothing_can_be_changed_where_that_is_switched_off(server):
    url = f"http://{server.address}/api/v1/cameras"
    assert httpx.get(url).status_code == 200
    assert httpx.post(url, json={"name": "a", "source": "demo:"}).status_code == 405
    assert httpx.delete(f"{url}/door").status_code == 404
