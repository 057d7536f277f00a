from __future__ import annotations

import json
import socket
import time
from dataclasses import replace

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from streamer.types import CameraChange
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Privacy
from streamer.web.feeds import _Fed
from streamer.web.live import LiveView, Shown
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


def test_faces_that_are_to_be_covered_are_covered_where_the_picture_was_sent_already(server, live):
    privacy = Privacy()
    seen = outcome("door", 1, at=time.monotonic() - 60)  # a camera that sends no more
    live.write(replace(seen, frame=privacy.unknown(seen.frame)))
    url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
    asked = {"boxes": 0, "fps": 0.1}
    with (
        watch(server) as viewer,
        httpx.stream("GET", url, params=asked, timeout=10) as stream,
    ):
        hello(viewer, 160)
        pictures = parts(stream)
        bare, (header, _) = next(pictures), picture(viewer)
        assert header["privacy"] == "none"
        privacy.mode = "box"
        covered, (header, jpeg) = next(pictures), picture(viewer)
        assert (header["privacy"], header["frame"], header["sequence"]) == ("box", 1, 2)
        grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert grey.max() < 100, "the white square is covered with all else"
        assert bare != covered
    assert server.watching().dropped == {"slow": 0, "busy": 0, "paced": 0}


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


def test_each_camera_may_have_a_width_of_its_own_and_none_at_all(server, live):
    with Playing(live), watch(server) as viewer:
        hello(viewer, 160, widths={"yard": 320, "hall": 0})
        came = [picture(viewer)[0] for _ in range(12)]
        assert {(header["camera"], header["width"]) for header in came} == {
            ("door", 160),
            ("yard", 320),
        }
        hello(viewer, 0, widths={"hall": 160})
        until(lambda: picture(viewer)[0]["camera"] == "hall")
        assert {picture(viewer, None)[0]["camera"] for _ in range(5)} == {"hall"}


def test_what_was_found_travels_with_its_picture_and_nothing_is_drawn_in_it(server, live):
    seen = outcome("door", 5)
    live.write(seen)
    live.write(outcome("yard", 5, failed=True))
    with watch(server) as viewer:
        hello(viewer, 160)
        header, jpeg = picture(viewer, "door")
        assert picture(viewer, "yard")[0]["found"] is None, "nobody looked"
    face = seen.tracks.faces
    (row,) = header["found"]
    assert row[0] == 1
    assert row[1] == pytest.approx(float(face.scores[0]), abs=1e-3)
    assert row[2] == 0, "found in this very picture"
    assert row[3:7] == pytest.approx(face.boxes[0] / 2, abs=0.06)
    assert row[7:] == pytest.approx(face.landmarks[0].ravel() / 2, abs=0.06)
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert (image.max(axis=2) - image.min(axis=2)).max() < 30, "a grey picture, no coloured box"


def test_what_a_viewer_was_not_sent_is_counted_with_the_reason(machine):
    live = LiveView(["door"])
    with serve(live, machine) as server, watch(server) as viewer:
        hello(viewer, 160, in_flight=1)
        live.write(outcome("door", 1))
        assert picture(viewer)[0]["frame"] == 1
        for index in range(2, 12):
            live.write(outcome("door", index))
            viewer.ping().wait(10)
        viewer.send(json.dumps({"drawn": 1}))
        assert picture(viewer)[0]["frame"] == 11
        (mine,) = server.watching().viewers
        assert (mine.kind, mine.number, mine.sent) == ("page", 1, 2)
        assert mine.dropped == {"slow": 9, "busy": 0, "paced": 0}
        said = {}
        while said.get("sent") != 2:
            message = viewer.recv(timeout=10)
            said = json.loads(message) if isinstance(message, str) else {}
        assert said == {"type": "viewer", "number": 1, "sent": 2, "dropped": mine.dropped}
    after = server.watching()
    assert (list(after.viewers), after.sent, after.dropped["slow"]) == ([], 2, 9)


def test_a_page_that_asks_for_nothing_misses_nothing(server, live):
    with Playing(live, fps=50) as playing, watch(server) as viewer:
        hello(viewer, 160)
        picture(viewer)
        hello(viewer, 0)
        written = playing.written
        until(lambda: playing.written > written + 60)
        before = sum(server.watching().dropped.values())
        until(lambda: playing.written > written + 120)
        hello(viewer, 160)
        until(lambda: picture(viewer)[0]["frame"] > (written + 120) // 3)
        assert sum(server.watching().dropped.values()) - before < 20


def test_what_cameras_did_is_told_at_the_start_and_when_it_changes(server, live):
    now = time.monotonic()
    live.write_change(CameraChange("door", "live", now - 60, 1.0))
    live.write_change(CameraChange("attic", "live", now, 1.0))  # not shown: let go

    def news(viewer):
        while True:
            message = viewer.recv(timeout=10)
            if isinstance(message, str) and json.loads(message)["type"] == "changes":
                return json.loads(message)

    with watch(server) as viewer:
        hello(viewer, 160)
        first = news(viewer)
        assert first["camera"] == "door"
        assert [change["state"] for change in first["changes"]] == ["live"]
        assert 60 <= first["changes"][0]["ago_s"] < 120
        assert first["down_for_s"] is None
        detail = "rtsp://a:s3cret@10.0.0.7 hung up"
        live.write_change(CameraChange("door", "backing_off", now - 5, 1.0, "reset", detail))
        second = news(viewer)
        assert [change["state"] for change in second["changes"]] == ["live", "backing_off"]
        assert second["changes"][1]["reason"] == "reset"
        assert 5 <= second["down_for_s"] < 60
        assert "s3cret" not in json.dumps(second)
        for n in range(40):
            live.write_change(CameraChange("door", "live", now, float(n), frozen=n % 2 == 0))
        until(lambda: len(news(viewer)["changes"]) == 32)


def test_a_camera_at_the_ceiling_is_never_held_back_by_the_pace():
    """25 pictures a second may come, some late: a pause after each would add up."""
    shown = Shown("door", 0, 0, 0, 0.0, 0, b"[]", 1, 1, b"")
    had, late_by = _Fed(), []
    for n in range(200):
        came = 100.0 + n / 25 + (0.015 if n % 10 == 5 else 0.0)
        sent = max(came, had.due_at)
        late_by.append(sent - came)
        had.take(shown, sent, 25.0)
    assert max(late_by) < 0.001


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
            assert server.watching().cut_off == 1
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
        ('{"in_flight": 0}', 1008, "from 1 to 128"),
        ('{"widths": 3}', 1008, "widths must be an object"),
        ('{"widths": {"door": 100}}', 1008, "each of widths must be 0 (no pictures) or a whole"),
        ('{"drawn": 1}', 1008, "from 0 to 0"),
        ("[" * 1024, 1008, "must be JSON"),
        (b"\x00\x01", 1003, "text"),
        ("x" * 20_000, 1009, ""),
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


def test_mjpeg_has_the_rate_the_quality_and_the_boxes_that_were_asked_for(machine):
    live = LiveView(["door"])
    with serve(live, machine) as server, Playing(live, fps=50):
        url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
        asked = {"width": 320, "quality": 10, "boxes": 0, "fps": 4}
        with httpx.stream("GET", url, params=asked, timeout=10) as stream:
            pictures = parts(stream)
            next(pictures)
            began = time.monotonic()
            few = [next(pictures) for _ in range(6)]
            assert time.monotonic() - began > 1.2, "six at 4 a second"
            dropped = server.watching().viewers[0].dropped
            assert dropped["paced"] > 20
            assert dropped["slow"] == 0
        fine = httpx.get(url.replace("live.mjpg", "snapshot.jpg"), params={"quality": 95})
    assert len(few[0]) < 0.6 * len(fine.content)
    image = cv2.imdecode(np.frombuffer(few[0], np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert (image.max(axis=2) - image.min(axis=2)).max() < 60
    boxed = cv2.imdecode(np.frombuffer(fine.content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert (boxed.max(axis=2) - boxed.min(axis=2)).max() > 60


def test_mjpeg_that_is_paced_slowly_says_at_once_when_it_goes_stale(machine):
    live = LiveView(["door"], stale_after_s=0.5)
    with serve(live, machine) as server:
        url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
        live.write(outcome("door", 1))
        with httpx.stream("GET", url, params={"width": 320, "fps": 0.1}, timeout=30) as stream:
            pictures = parts(stream)
            began = time.monotonic()
            next(pictures)
            for index in (2, 3):
                live.write(outcome("door", index))
            marked = next(pictures)
            assert 0.4 < time.monotonic() - began < 8, "neither the second picture nor ten seconds"
    live.write(outcome("door", 3))
    fresh = live.jpeg("door", 320).jpeg
    bright = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean()
        for jpeg in (fresh, marked)
    ]
    assert bright[1] < 0.7 * bright[0]


def test_the_second_picture_is_paced_like_the_others():
    shown = Shown("door", 0, 0, 0, 0.0, 0, b"[]", 1, 1, b"")
    had = _Fed()
    had.take(shown, 100.0, 0.1)
    assert had.due_at == 110.0


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
