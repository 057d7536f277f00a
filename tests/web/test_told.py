"""Server-sent events: what is found and what cameras do."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest

import streamer.web.told
from streamer.types import CameraChange, Faces, Result, Tracks
from streamer.web.told import Told
from tests.web.clients import serve
from tests.web.synthetic import outcome, until

BOOT = "b00"


def told() -> Told:
    return Told(boot_id=BOOT, model="net", clock=time.monotonic)


def change(camera: str = "door", state: Any = "live") -> CameraChange:
    return CameraChange(camera, state, time.monotonic(), 1_700_000_000.0)


class Listener:
    """Reads events as a browser does."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        event: dict[str, str] = {}
        for line in self._lines:
            if not line:
                if set(event) - {"retry"}:
                    return event
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
        raise EOFError


@pytest.fixture
def heard():
    return told()


@pytest.fixture
def door(live, machine, heard):
    with serve(live, machine, told=heard) as server:
        yield server


def listen(server, **options):
    return httpx.stream("GET", f"http://{server.address}/api/v1/events", timeout=10, **options)


def test_faces_and_changes_come_in_order_in_the_shape_of_the_wire(door, heard):
    with listen(door) as response:
        assert response.headers["content-type"] == "text/event-stream"
        until(lambda: heard.listening == 1)
        assert door.watching().listening == 1
        heard.write(outcome("door", 7, faces=2))
        heard.write_change(change())
        heard.write(outcome("yard", 1, failed=True))
        listener = Listener(response)
        first, second, third = listener.next(), listener.next(), listener.next()
    assert [e["event"] for e in (first, second, third)] == ["faces", "camera", "faces"]
    assert [e["id"] for e in (first, second, third)] == [f"{BOOT}-{n}" for n in (1, 2, 3)]
    faces = json.loads(first["data"])
    assert (faces["schema"], faces["camera"], faces["frame"], len(faces["faces"])) == (
        "streamer.faces/1", "door", 7, 2,
    )  # fmt: skip
    assert json.loads(second["data"])["state"] == "live"
    assert json.loads(third["data"])["faces"] is None
    until(lambda: heard.listening == 0)


def test_one_may_listen_to_some_cameras_and_kinds_only(door, heard):
    with listen(door, params={"camera": ["yard"], "kind": ["faces"]}) as response:
        until(lambda: heard.listening == 1)
        heard.write(outcome("door", 1))
        heard.write_change(change("yard"))
        heard.write(outcome("yard", 2))
        assert json.loads(Listener(response).next()["data"])["frame"] == 2
    for wrong in ({"kind": "noise"}, {"camera": "a" * 99}, {"camera": ["a"] * 200}):
        refused = httpx.get(f"http://{door.address}/api/v1/events", params=wrong)
        assert refused.status_code == 422, wrong


def test_whoever_comes_back_gets_what_he_missed_and_how_many_are_gone(door, heard, monkeypatch):
    for number in range(1, 6):
        heard.write(outcome("door", number))
    with listen(door, headers={"last-event-id": f"{BOOT}-3"}) as response:
        listener = Listener(response)
        assert [listener.next()["id"] for _ in range(2)] == [f"{BOOT}-4", f"{BOOT}-5"]
    for number in range(streamer.web.told.KEPT):
        heard.write(outcome("door", 10 + number))
    with listen(door, headers={"last-event-id": f"{BOOT}-3"}) as response:
        listener = Listener(response)
        lost = listener.next()
        assert (lost["event"], json.loads(lost["data"])) == ("lost", {"events": 2})
        assert listener.next()["id"] == f"{BOOT}-6"
    for unknown in ("", "other-3", "nonsense", f"{BOOT}-{10**14}", "\x7f"):
        with listen(door, headers={"last-event-id": unknown}) as response:
            until(lambda: heard.listening == 1)
            heard.write_change(change())
            assert Listener(response).next()["event"] == "camera"
        until(lambda: heard.listening == 0)


def test_a_quiet_stream_shows_that_it_is_alive(door, monkeypatch):
    monkeypatch.setattr(streamer.web.told, "ALIVE_S", 0.1)
    with listen(door) as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": alive"


def test_no_more_listen_than_may(door, monkeypatch):
    monkeypatch.setattr(streamer.web.told, "MOST_LISTENERS", 1)
    with listen(door):
        until(lambda: httpx.get(f"http://{door.address}/api/v1/events").status_code == 503)


def test_it_ends_when_streamer_does(door, heard):
    with listen(door) as response:
        until(lambda: heard.listening == 1)
        heard.close()
        with pytest.raises(EOFError):
            Listener(response).next()
    until(lambda: heard.listening == 0)


def test_one_who_does_not_read_is_cut_off_and_costs_nobody_anything(live, machine):
    import socket

    heard = told()
    with serve(live, machine, told=heard, read_limit_s=0.3) as server:
        host, port = server.address.rsplit(":", 1)
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, int(port)))
        stuck.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {server.address}\r\n\r\n".encode())
        until(lambda: heard.listening == 1)
        with listen(server) as response:
            until(lambda: heard.listening == 2)
            listener, number = Listener(response), 0
            while heard.listening == 2:
                number += 1
                heard.write(outcome("door", number, faces=3))
                assert json.loads(listener.next()["data"])["frame"] == number
                assert number < 100_000
        stuck.close()


def test_numbers_that_json_cannot_say_are_left_out():
    heard = told()
    good = outcome("door", 1)
    assert isinstance(good, Result)
    boxes = np.full((1, 4), np.nan, np.float32)
    bad = Faces(boxes, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    heard.write(Result(good.frame, Tracks(np.ones(1, np.int64), bad), good.stamps))
    assert heard.text(heard.after(0)[1][0]) == b""


def test_a_wait_ends_by_the_bell_or_in_time():
    heard = told()

    async def run() -> None:
        await heard.wait(0, 0.01)
        heard.write_change(change())
        await heard.wait(0, 60)
        waiting = asyncio.create_task(heard.wait(1, 60))
        await asyncio.sleep(0)
        heard.close()
        await waiting

    asyncio.run(run())
