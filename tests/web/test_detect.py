"""Faces in a picture that somebody sends."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

import streamer.web.body
import streamer.web.detect
from tests.web.clients import serve
from tests.web.pictures import Looking, form, jpeg, png_head
from tests.web.synthetic import until

ANSWER = {
    "faces": [
        {
            "bbox": [0.0, 20.12, 40.0, 240.0],
            "keypoints": {
                "left_eye": [0.0, 1.0],
                "right_eye": [2.0, 3.0],
                "nose": [4.0, 5.0],
                "mouth_left": [6.0, 7.0],
                "mouth_right": [8.0, 9.0],
            },
            "confidence": 0.98765,
        }
    ],
    "width": 320,
    "height": 240,
    "model": "net",
    "inference_ms": 250.0,
}


@pytest.fixture
def looking():
    return Looking()


@pytest.fixture
def door(live, machine, looking):
    with serve(live, machine, detecting=looking.detecting()) as server:
        yield server


def url(server, path="/detect"):
    return f"http://{server.address}{path}"


@pytest.mark.parametrize("path", ["/detect", "/api/v1/detect"])
def test_a_picture_is_answered_in_the_documented_shape(door, looking, path):
    for request in (
        {"files": {"image": ("face.jpg", jpeg(), "image/jpeg")}},
        {"files": {"image": jpeg()}, "data": {"note": "ignored"}},
        {"content": jpeg(), "headers": {"content-type": "image/jpeg"}},
        {"content": jpeg(), "headers": {"content-type": "application/octet-stream"}},
        {"content": jpeg(), "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": jpeg()},
        {"content": iter([jpeg()[:100], jpeg()[100:]])},
        {"content": jpeg(suffix=".png")},
        {"content": jpeg(suffix=".webp")},
        {"content": jpeg(suffix=".bmp")},
    ):
        answer = httpx.post(url(door, path), **request)
        assert answer.status_code == 200, answer.text
        assert answer.json() == ANSWER
        assert answer.headers["cache-control"] == "no-store"
    assert {(p.width, p.height) for p in looking.pictures} == {(320, 240)}
    assert max(p.kept.width for p in looking.pictures) == 160  # no more than the detector needs


def test_more_than_may_wait_are_told_to_come_again(door, looking):
    looking.go_on.clear()
    with ThreadPoolExecutor(8) as pool, httpx.Client() as client:
        asked = [pool.submit(client.post, url(door), content=jpeg()) for _ in range(4)]
        until(lambda: len(looking.waiting) == 4)
        refused = client.post(url(door), content=jpeg(1000, 1000))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "4 pictures wait already" in refused.json()["error"]
        looking.answer_all()
        assert [request.result(10).status_code for request in asked] == [200] * 4
        assert client.post(url(door), content=jpeg()).status_code == 200


def test_whoever_is_refused_may_go_on_on_the_same_connection(door, looking):
    body = jpeg(2000, 2000)
    looking.go_on.clear()
    with ThreadPoolExecutor(4) as pool, httpx.Client() as client:
        asked = [pool.submit(httpx.post, url(door), content=jpeg()) for _ in range(4)]
        until(lambda: len(looking.waiting) == 4)
        assert [client.post(url(door), content=body).status_code for _ in range(3)] == [503] * 3
        looking.answer_all()
        for request in asked:
            request.result(10)
        assert client.post(url(door), content=body).status_code == 200


def test_a_picture_whose_turn_never_comes_is_told_so(door, looking, monkeypatch):
    monkeypatch.setattr(streamer.web.detect, "ANSWER_LIMIT_S", 0.2)
    looking.go_on.clear()
    late = httpx.post(url(door), content=jpeg())
    assert late.status_code == 503
    assert "retry-after" in late.headers
    assert looking.waiting[0][0].cancelled()  # no worker looks at it in vain


def test_what_was_answered_is_counted(door):
    for body in (jpeg(), jpeg(), b"nothing"):
        httpx.post(url(door), content=body)
    httpx.get(url(door))  # no picture
    assert door.watching().asked == {200: 2, 415: 1}
    took = door.watching().asked_s
    assert took is not None
    assert took.count == 2, "a refusal is quick and says nothing of the time"
    assert took.sum_s > 0


def test_those_on_their_way_are_counted_until_they_are_answered(door, looking):
    looking.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(httpx.post, url(door), content=jpeg()) for _ in range(2)]
        until(lambda: len(looking.waiting) == 2)
        assert door.watching().asked_now == 2
        looking.answer_all()
        assert [one.result().status_code for one in sent] == [200, 200]
    assert door.watching().asked_now == 0


def test_a_failure_is_never_no_faces(door, looking):
    looking.fails = True
    failed = httpx.post(url(door), content=jpeg())
    assert failed.status_code == 503
    assert "could not look" in failed.json()["error"]


def test_a_bomb_is_refused_before_it_is_decoded(door, looking, monkeypatch):
    def decoded(*_, **__):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(streamer.web.detect, "decode_still", decoded)
    for size in ((20_000, 20_000), (6001, 6000), (2**31 - 1, 2**31 - 1)):
        refused = httpx.post(url(door), content=png_head(*size))
        assert refused.status_code == 413
        assert "36 megapixels" in refused.json()["error"]


def test_what_costs_more_than_its_size_says_is_refused_before_it_is_decoded(door, monkeypatch):
    def decoded(*_, **__):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(streamer.web.detect, "decode_still", decoded)
    scans = jpeg()[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 101
    refused = httpx.post(url(door), content=scans)
    assert refused.status_code == 413
    assert refused.json()["error"] == "the picture has more than 100 scans; save it anew"


def test_a_picture_that_takes_long_to_decode_is_answered_and_looked_at_by_nobody(
    door, looking, monkeypatch
):
    decode, go_on = streamer.web.detect.decode_still, threading.Event()

    def slowly(*args, **options):
        go_on.wait(20)
        return decode(*args, **options)

    monkeypatch.setattr(streamer.web.detect, "decode_still", slowly)
    monkeypatch.setattr(streamer.web.detect, "ANSWER_LIMIT_S", 0.2)
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(httpx.post, url(door), content=jpeg()) for _ in range(2)]
        assert [one.result(10).status_code for one in sent] == [503, 503]
    assert door.watching().asked_now == 0
    monkeypatch.setattr(streamer.web.detect, "ANSWER_LIMIT_S", 20.0)
    go_on.set()
    assert httpx.post(url(door), content=jpeg()).status_code == 200
    assert len(looking.pictures) == 1, "those that were given up were looked at"


def test_a_picture_that_is_being_decoded_does_not_hold_up_the_end_of_the_program():
    program = """
import threading, time
from streamer.web.detect import Detecting
detecting = Detecting(lambda picture: None, model="", longest=160, waiting=1)
begun = threading.Event()
detecting._decoding.submit(lambda: (begun.set(), time.sleep(60)))
begun.wait()
detecting.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_does_not_come_is_not_waited_for(door, monkeypatch, chunked):
    monkeypatch.setattr(streamer.web.body, "READ_LIMIT_S", 0.3)
    host, port = door.address.rsplit(":", 1)
    length = (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        if chunked
        else "Content-Length: 99\r\n\r\nhi"
    )
    with socket.create_connection((host, int(port)), timeout=10) as tcp:
        tcp.sendall(f"POST /detect HTTP/1.1\r\nHost: {door.address}\r\n{length}".encode())
        assert tcp.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert httpx.post(url(door), content=jpeg()).status_code == 200


def test_bodies_that_come_slowly_keep_nobody_out_but_their_own_address(door):
    host, port = door.address.rsplit(":", 1)
    head = f"POST /detect HTTP/1.1\r\nHost: {door.address}\r\nContent-Length: 99\r\n\r\nh"
    with ExitStack() as stack:
        for _ in range(4):
            tcp = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            tcp.sendall(head.encode())
        until(lambda: door._detecting._coming.total() == 4)
        assert door.watching().asked_now == 0, "a place is taken when the picture is there"
        refused = httpx.post(url(door), content=jpeg())
        assert refused.status_code == 503
        assert "too many pictures are being sent" in refused.json()["error"]
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=other) as client:
            assert client.post(url(door), content=jpeg()).status_code == 200
    until(lambda: not door._detecting._coming)
    assert httpx.post(url(door), content=jpeg()).status_code == 200


def test_a_body_without_end_is_refused_while_it_comes(door, monkeypatch):
    monkeypatch.setattr(streamer.web.detect, "MAX_PICTURE_BODY", 100_000)
    refused = httpx.post(url(door), content=(b"a" * 10_000 for _ in range(50)))
    assert refused.status_code == 413


def test_nothing_answers_where_no_pictures_are_taken(server):
    assert httpx.post(url(server), content=jpeg()).status_code == 404


def test_a_form_with_another_name_says_which_is_right(door):
    body, kind = form(jpeg(), "file")
    wrong = httpx.post(url(door), content=body, headers={"content-type": kind})
    assert wrong.status_code == 400
    assert "curl -F image=@face.jpg" in wrong.json()["error"]
