from __future__ import annotations

import json
import socket
import time

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from streamer.vision.picture import ArrayPicture
from streamer.web.live import LiveView
from tests.web.clients import (
    connections,
    hello,
    noise,
    parts,
    picture,
    serve,
    stalled,
    watch,
)
from tests.web.synthetic import CAMERAS, Machine, Playing, outcome, until


def test_pictures_of_all_cameras_arrive_and_change(server, live):
    with Playing(live), watch(server) as viewer:
        hello(viewer)
        first = {}
        later = {}
        while len(later) < len(CAMERAS):
            header, jpeg = picture(viewer)
            if header["camera"] not in first:
                first[header["camera"]] = header, jpeg
            elif header["frame"] > first[header["camera"]][0]["frame"]:
                later[header["camera"]] = header, jpeg
        for camera in CAMERAS:
            header, jpeg = later[camera]
            assert jpeg != first[camera][1]
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert image.shape == (header["height"], header["width"], 3) == (180, 320, 3)
            assert header["status"] == "live"
            assert header["age_ms"] < 3000
            assert header["faces"] == (2 if camera == "yard" else 1)


def test_old_and_failed_pictures_are_told_as_such(server, live):
    live.write(outcome("door", 1, at=time.monotonic() - 60))
    live.write(outcome("yard", 2, failed=True))
    with watch(server) as viewer:
        hello(viewer)
        old, _ = picture(viewer, "door")
        failed, _ = picture(viewer, "yard")
    assert old["status"] == "stale"
    assert old["age_ms"] >= 60_000
    assert failed["status"] == "failed"
    assert failed["faces"] is None, "nobody looked: that is not zero faces"


def test_the_viewer_chooses_the_width_and_may_change_its_mind():
    live = LiveView(["door"])
    with (
        serve(live, Machine(("door",))) as server,
        Playing(live, width=640, height=360),
        watch(server) as viewer,
    ):
        hello(viewer, 160)
        assert picture(viewer)[0]["width"] == 160
        hello(viewer, 480)
        until(lambda: picture(viewer)[0]["width"] == 480)


def test_a_viewer_that_tells_what_it_drew_gets_no_more_than_it_can_draw(server, live):
    with Playing(live, fps=50), watch(server) as viewer:
        hello(viewer, in_flight=2)
        assert [picture(viewer)[0]["sequence"] for _ in range(2)] == [1, 2]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            message = viewer.recv(timeout=10)
            assert isinstance(message, str), "two pictures are on the way already"
        viewer.send(json.dumps({"drawn": 2}))
        header, _ = picture(viewer)
        assert header["sequence"] == 3
        assert header["age_ms"] < 1000, "the newest, not what was newest when it stopped drawing"


def test_who_does_not_read_is_cut_off_and_delays_nobody(machine):
    live = LiveView(["door"])
    pictures = [ArrayPicture(image) for image in noise()]
    with serve(live, machine, read_limit_s=1.5) as server, watch(server, max_size=None) as fast:
        hello(fast, 1920)
        slow = stalled(server)
        try:
            until(lambda: server.viewers == 2)
            worst = 0.0
            index = 0
            end = time.monotonic() + 30
            while server.viewers == 2 and time.monotonic() < end:
                index += 1
                live.write(outcome("door", index, picture=pictures[index % 8]))
                began = time.monotonic()
                assert picture(fast)[0]["frame"] == index
                worst = max(worst, time.monotonic() - began)
            assert server.viewers == 1, "the one that did not read is gone"
            until(lambda: connections(server) == 1)  # cut, although it has still not read
            assert worst < 1.4, "the other never waited for it"
            live.write(outcome("door", index + 1, picture=pictures[0]))
            assert picture(fast)[0]["frame"] == index + 1
        finally:
            slow.close()


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("hello", 1008, "must be JSON"),
        ("[]", 1008, "JSON object"),
        ('{"width": 159}', 1008, "from 160 to 1920"),
        ('{"width": 1921}', 1008, "from 160 to 1920"),
        ('{"width": "640"}', 1008, "whole number"),
        ('{"width": true}', 1008, "whole number"),
        ('{"width": 640.5}', 1008, "whole number"),
        ('{"width": NaN}', 1008, "whole number"),
        ('{"width": ' + "9" * 900 + "}", 1008, "from 160 to 1920"),
        ('{"in_flight": 0}', 1008, "from 1 to 64"),
        ('{"drawn": 1}', 1008, "from 0 to 0"),
        ("[" * 1024, 1008, "must be JSON"),
        (b"\x00\x01", 1003, "text"),
        ("x" * 2000, 1009, ""),
    ],
)
def test_nonsense_ends_the_connection_with_a_sentence(server, message, code, words):
    with watch(server) as viewer:
        viewer.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                viewer.recv(timeout=10)
        assert closed.value.rcvd.code == code
        assert words in closed.value.rcvd.reason
    until(lambda: server.viewers == 0)


def test_a_flood_of_messages_ends_the_connection(server):
    with watch(server) as viewer, pytest.raises(ConnectionClosed) as closed:
        for _ in range(3000):
            viewer.send('{"width": 320}')
        while True:
            viewer.recv(timeout=10)
    assert closed.value.rcvd.code == 1008
    until(lambda: server.viewers == 0)


def test_bytes_that_are_no_websocket_frames_end_the_connection(server):
    tcp = stalled(server)
    until(lambda: server.viewers == 1)
    tcp.sendall(b"\xff" * 64)
    until(lambda: server.viewers == 0)
    tcp.close()


def test_mjpeg_shows_each_new_picture_and_says_when_it_goes_stale(machine):
    live = LiveView(["door"], stale_after_s=0.5)
    with serve(live, machine) as server:
        url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
        assert httpx.head(url).headers["content-type"].startswith("multipart/x-mixed-replace")
        assert server.viewers == 0
        live.write(outcome("door", 1))
        with httpx.stream("GET", url, params={"width": 320}, timeout=10) as stream:
            assert stream.headers["content-type"].startswith("multipart/x-mixed-replace")
            pictures = parts(stream)
            first = next(pictures)
            live.write(outcome("door", 2))
            second = next(pictures)
            third = next(pictures)  # nothing new was written: the second has gone stale
        until(lambda: server.viewers == 0)
    bright = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean()
        for jpeg in (first, second, third)
    ]
    assert first != second
    assert bright[1] > 0.9 * bright[0]
    assert bright[2] < 0.7 * bright[1]


def test_mjpeg_that_nobody_reads_is_cut_off(machine):
    live = LiveView(["door"])
    pictures = [ArrayPicture(image) for image in noise(2)]
    with serve(live, machine, read_limit_s=0.5) as server:
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as tcp:
            request = "GET /api/v1/cameras/door/live.mjpg?width=1920 HTTP/1.1"
            tcp.sendall(f"{request}\r\nHost: {server.address}\r\n\r\n".encode())
            until(lambda: server.viewers == 1)
            index = 0

            def cut_off():
                nonlocal index
                index += 1
                live.write(outcome("door", index, picture=pictures[index % 2]))
                return server.viewers == 0

            until(cut_off, 20)
            until(lambda: connections(server) == 0)
