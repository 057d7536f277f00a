"""Who may watch, and what is made once for all of them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

import streamer.web.connection
import streamer.web.live
from streamer.web.live import Wish
from streamer.web.viewers import Viewer, Viewers
from tests.web.clients import (
    connections,
    hello,
    open_files,
    parts,
    picture,
    serve,
    stalled,
    watch,
)
from tests.web.synthetic import CAMERAS, Playing, outcome, until


@pytest.fixture
def encodes(monkeypatch):
    made = []
    real = streamer.web.live.encode
    monkeypatch.setattr(
        streamer.web.live, "encode", lambda image, q: (made.append(1), real(image, q))[1]
    )
    return made


def test_the_status_of_all_cameras_comes_every_second_and_is_read_once_for_all(server, machine):
    with watch(server) as one, watch(server) as two:
        hello(one)
        hello(two)
        came = [[json.loads(viewer.recv(timeout=10)) for _ in range(6)] for viewer in (one, two)]
    assert [message["type"] for message in came[0]] == ["status", "viewer"] * 3
    assert [camera["name"] for camera in came[0][0]["cameras"]] == list(CAMERAS)
    assert came[0][0]["stale_after_s"] == 3.0
    assert machine.readings <= 5, "two viewers, three messages each, are about three readings"


def test_ten_viewers_cause_one_encode_for_each_picture(server, live, encodes):
    with ExitStack() as stack:
        viewers = [stack.enter_context(watch(server)) for _ in range(10)]
        for viewer in viewers:
            hello(viewer)
        for index in range(5):
            live.write(outcome("door", index))
            frames = [picture(viewer)[0]["frame"] for viewer in viewers]
            assert frames == [index] * 10
    assert len(encodes) == 5


def test_a_picture_that_is_being_made_is_no_more_work_for_who_else_asks(live, machine):
    live.write(outcome("door"))
    made = []

    class Counting(ThreadPoolExecutor):
        def submit(self, work, *args):
            made.append(args)
            return super().submit(work, *args)

    async def ask():
        wish = Wish(320)
        shown = await asyncio.gather(*(viewers.picture("door", wish) for _ in range(10)))
        assert len({id(one) for one in shown}) == 1
        await viewers.picture("door", Wish(160))

    with Counting(2) as pool:
        viewers = Viewers(live, machine.status, pool, max_viewers=32, read_limit_s=1.0)
        asyncio.run(ask())
    assert made == [("door", Wish(320)), ("door", Wish(160))]


def test_nothing_is_encoded_or_woken_without_viewers(server, live, encodes):
    with watch(server) as viewer:
        hello(viewer)
        live.write(outcome("door"))
        picture(viewer)
    until(lambda: server.viewers == 0)
    live.write(outcome("door", 1))  # rings the bell that the last viewer left behind
    until(lambda: not live._bells)
    made = len(encodes)
    with Playing(live, fps=200) as playing:
        until(lambda: playing.written > 100)
        assert not live._bells
    assert len(encodes) == made


def test_the_thirty_third_viewer_is_told_to_come_later(live, machine):
    with serve(live, machine) as server, ExitStack() as stack:
        for _ in range(31):
            stack.enter_context(watch(server))
        with watch(server):
            until(lambda: server.viewers == 32)
            with watch(server) as late, pytest.raises(ConnectionClosed) as closed:
                late.recv(timeout=10)
            assert closed.value.rcvd.code == 1013
            assert "32 watch already" in closed.value.rcvd.reason
            url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
            refused = httpx.get(url)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5"
            assert "try again later" in refused.json()["error"]
            assert httpx.get(f"http://{server.address}/healthz").status_code == 200
        until(lambda: server.viewers == 31)
        with watch(server) as welcome:
            hello(welcome)
            assert json.loads(welcome.recv(timeout=10))["type"] == "status"


def test_viewers_that_vanish_are_forgotten(server, live):
    gone = [stalled(server, '{"width": 160}') for _ in range(20)]
    until(lambda: server.viewers == 20)
    with Playing(live):
        for tcp in gone:  # reset, as when a process is killed with data unread
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            tcp.close()
        until(lambda: server.viewers == 0)


def tasks(server):
    """The tasks of the server's event loop, counted there."""

    async def count():
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), server._server._loop).result(10) - 1


def test_twenty_viewers_that_come_and_go_leave_nothing(server, live):
    """No task, thread or descriptor: pages, MJPEG, and one that never reads."""
    url = f"http://{server.address}/api/v1/cameras/door"
    live.write(outcome("door"))

    def round_of_viewers():
        with ExitStack() as stack, Playing(live, fps=20):
            viewers = [stack.enter_context(watch(server)) for _ in range(16)]
            for viewer in viewers:
                hello(viewer, in_flight=2)  # what is not read would have to be, before the end
            client = stack.enter_context(httpx.Client())
            streams = [
                parts(stack.enter_context(client.stream("GET", f"{url}/live.mjpg")))
                for _ in range(3)
            ]
            stack.enter_context(stalled(server))
            until(lambda: server.viewers == 20)
            for viewer in viewers:
                picture(viewer)
            for stream in streams:
                next(stream)
        until(lambda: server.viewers == 0)
        until(lambda: connections(server) == 0)

    round_of_viewers()  # what is made once and kept: threads of the pool, the loop's own
    before = tasks(server), threading.active_count(), open_files()
    for _ in range(2):
        round_of_viewers()
        until(lambda: (tasks(server), threading.active_count(), open_files()) == before)


def test_a_picture_that_cannot_be_converted_harms_only_itself(server, live, caplog):
    class Broken:
        width, height = 320, 180

        def bgr(self, width=None, height=None):
            raise OSError("rtsp://user:hush@camera failed")

    with watch(server) as viewer:
        hello(viewer)
        live.write(outcome("door", 1, picture=Broken()))
        live.write(outcome("yard", 2))
        assert picture(viewer)[0]["camera"] == "yard"
        live.write(outcome("door", 3))
        assert picture(viewer)[0]["frame"] == 3
    assert "a picture cannot be shown" in caplog.text
    assert "hush" not in caplog.text


def test_a_viewer_has_room_for_what_it_may_have_on_the_way():
    viewer = Viewer()
    viewer.sent = 100
    assert viewer.has_room, "one that tells nothing is sent everything"
    viewer.hear('{"in_flight": 2, "drawn": 98}')
    assert not viewer.has_room
    viewer.hear('{"drawn": 99}')
    assert viewer.has_room
    viewer.hear('{"drawn": 50}')
    assert viewer.drawn == 99, "what is drawn stays drawn"
    assert viewer.wake.is_set()


@pytest.mark.parametrize("text", ["", "null", "1", '{"width": null}', '{"drawn": -1}'])
def test_a_viewer_takes_no_nonsense(text):
    with pytest.raises(ValueError, match="must be"):
        Viewer().hear(text)
