from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamer.web.access import Access
from streamer.web.guard import AllowedHosts
from streamer.web.server import HttpServer
from tests.web.clients import raw, serve
from tests.web.pictures import Looking
from tests.web.synthetic import outcome, until


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET / HTTP/1.1", "Host: evil.example", 421),
        ("GET / HTTP/1.1", "Host: evil.example:{port}", 421),
        ("GET / HTTP/1.1", "Host: localhost.evil.example", 421),
        ("GET / HTTP/1.1", "Host: 127.0.0.1.evil.example", 421),
        ("GET / HTTP/1.1", "Host: 10.1.2.3", 421),
        ("GET / HTTP/1.1", "Host: [::1", 421),
        ("GET / HTTP/1.1", "Host: user@evil.example", 421),
        ("GET / HTTP/1.1", "Host: ", 400),
        ("GET / HTTP/1.0", "X: y", 400),
        ("GET / HTTP/1.1", "X: y", 400),
        ("GET / HTTP/1.1", "Host: localhost\r\nHost: evil.example", 400),
        ("GET / HTTP/1.1", "Host: localhost", 200),
        ("GET / HTTP/1.1", "Host: LOCALHOST.:{port}", 200),
        ("GET / HTTP/1.1", "Host: [::1]:{port}", 200),
        ("GET / HTTP/1.1", "Host: 127.0.0.1:{port}\r\nX-Forwarded-Host: evil.example", 200),
        ("GET http://evil.example/ HTTP/1.1", "Host: localhost", 421),
        ("GET @evil.example HTTP/1.1", "Host: localhost", 400),
        ("GET evil HTTP/1.1", "Host: localhost", 400),
        ("GET //evil.example HTTP/1.1", "Host: localhost", 404),
        ("GET /static/..%2f..%2fetc/passwd HTTP/1.1", "Host: localhost", 404),
        ("GET /static/../server.py HTTP/1.1", "Host: localhost", 404),
        ("GET /static/%2e%2e/server.py HTTP/1.1", "Host: localhost", 404),
        ("GET /static//etc/passwd HTTP/1.1", "Host: localhost", 404),
        ("GET /static/ HTTP/1.1", "Host: localhost", 404),
        ("GET /static/app.js%00 HTTP/1.1", "Host: localhost", 400),
        ("GET /docs HTTP/1.1", "Host: localhost", 200),
        ("GET /openapi.json HTTP/1.1", "Host: localhost", 200),
        ("GET /healthz/ HTTP/1.1", "Host: localhost", 404),
        ("GET /ws/live HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/attic/live.mjpg HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/%3Cscript%3E/snapshot.jpg HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=0 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=1e3 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=99999 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width= HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/live.mjpg?width=NaN HTTP/1.1", "Host: localhost", 422),
        ("POST / HTTP/1.1", "Host: localhost", 405),
        ("DELETE /api/v1/status HTTP/1.1", "Host: localhost", 405),
        ("POST / HTTP/1.1", "Host: localhost\r\nX-HTTP-Method-Override: GET", 405),
        (
            "OPTIONS /api/v1/status HTTP/1.1",
            "Host: localhost\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: GET",
            405,
        ),
        ("POST / HTTP/1.1", "Host: localhost\r\nContent-Length: 104857600", 413),
        ("GET / HTTP/1.1", "Host: localhost\r\nTransfer-Encoding: chunked", 413),
        ("GET / HTTP/1.1", "Host: localhost\r\nContent-Length: -1", 400),
        (
            "POST /detect HTTP/1.1",
            "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("GET / HTTP/1.1", "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("GET / HTTP/x", "Host: localhost", 400),
        ("GET / HTTP/1.1", "Host: evil.example\\@localhost", 421),
        ("\x16\x03\x01\x02", "", 400),
    ],
)  # fmt: skip
def test_hostile_requests_get_a_plain_refusal(server, live, request_line, headers, status):
    live.write(outcome("door"))
    headers = headers.replace("{port}", server.address.rsplit(":", 1)[1])
    data = f"{request_line}\r\n{headers}\r\nConnection: close\r\n\r\n".encode("latin-1")
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"access-control-allow-origin" not in answer.lower()
    assert b"evil" not in answer, "what a client says is never said back"
    assert b"<script>" not in answer.split(b"\r\n\r\n", 1)[1]
    if status >= 400:
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert httpx.get(f"http://{server.address}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://evil.example", "{address}", 403),
        ("null", "{address}", 403),
        ("", "{address}", 403),
        ("http://[", "{address}", 403),
        ("http://127.0.0.1:1", "{address}", 403),
        ("http://localhost:{port}", "{address}", 403),
        ("http://evil.example:{port}", "evil.example:{port}", 421),
        ("http://{address}", "{address}", 101),
        ("https://{address}", "{address}", 101),
        (None, "{address}", 101),
    ],
)
def test_only_our_own_page_may_open_the_websocket(server, origin, host, status):
    names = {"address": server.address, "port": server.address.rsplit(":", 1)[1]}
    origin_line = "" if origin is None else f"Origin: {origin.format(**names)}\r\n"
    host_name, port = server.address.rsplit(":", 1)
    with socket.create_connection((host_name, int(port)), timeout=10) as tcp:
        tcp.sendall(
            f"GET /ws/live HTTP/1.1\r\nHost: {host.format(**names)}\r\n{origin_line}"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert tcp.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_a_websocket_elsewhere_is_refused(server):
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://{server.address}/ws/other"),
    ):
        pass
    assert refused.value.response.status_code == 404
    assert "it is at /ws/live" in json.loads(refused.value.response.body)["error"]


def test_a_fault_of_ours_is_logged_and_answered_without_detail(live, machine, caplog):
    def broken(accept):
        raise KeyError("hush")

    with HttpServer("127.0.0.1:0", live=live, status=machine.status, metrics=broken) as server:
        answer = httpx.get(f"http://{server.address}/metrics")
        assert answer.status_code == 500
        assert "hush" not in answer.text
        until(lambda: "bug in streamer" in caplog.text)
        assert httpx.get(f"http://{server.address}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("bound", "more", "host", "allowed"),
    [
        ("127.0.0.1", (), "localhost:8080", True),
        ("127.0.0.1", (), "127.8.9.1", True),
        ("127.0.0.1", (), "192.168.1.5", False),
        ("192.168.1.5", (), "192.168.1.5:8080", True),
        ("192.168.1.5", (), "192.168.1.6:8080", False),
        ("cam.example", (), "CAM.example", True),
        ("0.0.0.0", (), "192.168.1.5:8080", True),
        ("::", (), "[fe80::1]:8080", True),
        ("0.0.0.0", (), "evil.example", False),
        ("0.0.0.0", (), socket.gethostname(), True),
        ("0.0.0.0", ("streamer",), "streamer:8080", True),
        ("127.0.0.1", ("Wall.example",), "wall.example", True),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "0x7f.1", False),
        ("127.0.0.1", (), "evil.example\\@localhost", False),
    ],
)  # fmt: skip
def test_which_hosts_are_ours(bound, more, host, allowed):
    assert AllowedHosts(bound, more).allows(host) is allowed


READ, CONTROL = "read-" + "r" * 20, "control-" + "c" * 20


@pytest.fixture
def guarded(live, machine):
    access = Access(read=[READ], control=[CONTROL], wall_clock=time.time)
    with serve(live, machine, access=access, detecting=Looking().detecting()) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "nobody", "reader", "controller"),
    [
        ("GET", "/healthz", 200, 200, 200),
        ("GET", "/login", 200, 200, 200),
        ("GET", "/static/style.css", 200, 200, 200),
        ("GET", "/", 401, 200, 200),
        ("HEAD", "/", 401, 200, 200),
        ("GET", "/metrics", 401, 200, 200),
        ("GET", "/api/v1/status", 401, 200, 200),
        ("GET", "/api/v1/cameras/door/snapshot.jpg", 401, 503, 503),
        ("GET", "/nothing", 401, 404, 404),
        ("OPTIONS", "/api/v1/status", 401, 405, 405),
        ("POST", "/detect", 401, 400, 400),
        ("POST", "/api/v1/detect", 401, 400, 400),
        ("POST", "/api/v1/status", 401, 403, 405),
        ("DELETE", "/api/v1/cameras/door", 401, 403, 404),
        ("BREW", "/", 401, 403, 405),
    ],
)
def test_what_each_role_may_do(guarded, method, path, nobody, reader, controller):
    url = f"http://{guarded.address}{path}"
    for token, status in ((None, nobody), (READ, reader), (CONTROL, controller)):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        answer = httpx.request(method, url, headers=headers)
        assert answer.status_code == status, (token, answer.text)
        if status == 401:
            assert answer.headers["www-authenticate"] == 'Bearer realm="streamer"'


def test_a_browser_logs_in_watches_and_logs_out(guarded):
    with httpx.Client(base_url=f"http://{guarded.address}") as browser:
        home = browser.get("/", headers={"accept": "text/html,*/*"})
        assert (home.status_code, home.headers["location"]) == (303, "/login")
        assert "hidden" in browser.get("/login").text
        wrong = browser.post("/login", data={"token": "wrong" * 5})
        assert wrong.status_code == 401
        assert "hidden" not in wrong.text
        assert "set-cookie" not in wrong.headers
        right = browser.post("/login", data={"token": READ})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        assert READ not in right.headers["set-cookie"]
        assert browser.get("/").status_code == 200
        name = f"streamer_session_{guarded.address.rpartition(':')[2]}"
        cookie = f"{name}={browser.cookies[name]}"
        origin = f"http://{guarded.address}"
        for headers, accepted in (({"Cookie": cookie}, True), ({}, False)):
            try:
                with connect(
                    f"ws://{guarded.address}/ws/live", additional_headers=headers, origin=origin
                ):
                    assert accepted
            except InvalidStatus as refused:
                assert not accepted
                assert refused.response.status_code == 401
        assert browser.delete("/api/v1/status").status_code == 403
        assert browser.post("/logout").status_code == 303
        assert browser.get("/").status_code == 401


def test_a_login_by_another_page_or_in_another_shape_is_refused(guarded):
    url = f"http://{guarded.address}/login"
    evil = httpx.post(url, data={"token": READ}, headers={"origin": "http://evil.example"})
    assert evil.status_code == 403
    assert httpx.post(url, json={"token": READ}).status_code == 415
    assert httpx.post(url, data={"other": "a"}).status_code == 401
    assert httpx.post(url, data={f"a{n}": "b" for n in range(99)}).status_code == 400


def test_a_target_may_name_the_host_as_to_a_proxy_and_that_counts(server):
    for host, status in ((server.address, 200), ("evil.example", 421)):
        for other in (server.address, "evil.example"):
            request = f"GET HTTP://{host}/healthz?a HTTP/1.1\r\nHost: {other}\r\n"
            answer = raw(server, request.encode() + b"Connection: close\r\n\r\n")
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def stand_still(server):
    """Nobody gets a guess back while the test lasts, however long that is."""
    server._guard._guesses._each._clock = lambda: 0.0


def test_a_guesser_waits_and_who_is_in_stays_in(guarded):
    stand_still(guarded)
    url = f"http://{guarded.address}/api/v1/status"
    assert httpx.get(url, headers=bearer(READ)).status_code == 200
    wrong = [httpx.get(url, headers=bearer(f"{n:024}")) for n in range(14)]
    assert [answer.status_code for answer in wrong[:10]] == [401] * 10
    assert wrong[-1].status_code == 429
    assert wrong[-1].headers["retry-after"] == "5"
    assert httpx.get(url, headers=bearer(READ)).status_code == 200
    # Never shown from here, so it is not looked at: a guesser would learn that it is right.
    assert httpx.get(url, headers=bearer(CONTROL)).status_code == 429
    assert httpx.get(url).status_code == 401  # who shows nothing guesses nothing
    guess = httpx.post(f"http://{guarded.address}/login", data={"token": CONTROL})
    assert guess.status_code == 429, "one measure for both doors"
    known = httpx.post(f"http://{guarded.address}/login", data={"token": READ})
    assert known.status_code == 303, "what was right at one door is right at the other"


def test_the_form_is_no_way_to_guess_either(guarded):
    stand_still(guarded)
    url = f"http://{guarded.address}/login"
    with httpx.Client() as browser:
        assert browser.post(url, data={"token": READ}).status_code == 303
        wrong = [httpx.post(url, data={"token": f"{n:024}"}) for n in range(14)]
        assert [answer.status_code for answer in wrong[:10]] == [401] * 10
        late = wrong[-1]
        assert late.status_code == 429
        assert late.headers["retry-after"] == "5"
        assert "Try again in 5 s" in late.text
        assert "set-cookie" not in httpx.post(url, data={"token": CONTROL}).headers
        assert browser.get(f"http://{guarded.address}/").status_code == 200
        status = httpx.get(f"http://{guarded.address}/api/v1/status", headers=bearer("a" * 24))
        assert status.status_code == 429, "one measure for both doors"


def test_one_address_may_not_ask_without_end(live, machine):
    with serve(live, machine, requests_per_s=5) as server, httpx.Client() as client:
        answers = [client.get(f"http://{server.address}/healthz") for _ in range(40)]
    codes = [answer.status_code for answer in answers]
    assert codes[:10] == [200] * 10
    assert 429 in codes
    assert next(a for a in answers if a.status_code == 429).headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"origin": "http://{address}"}, 400),
        ({"sec-fetch-site": "none"}, 400),
        ({"sec-fetch-site": "same-origin"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://{address}.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_another_sites_page_can_send_nothing_even_where_no_token_is_asked_for(
    live, machine, headers, status
):
    with serve(live, machine, detecting=Looking().detecting()) as server:
        filled = {name: value.format(address=server.address) for name, value in headers.items()}
        answer = httpx.post(f"http://{server.address}/detect", headers=filled)
    assert answer.status_code == status


def test_pages_that_were_allowed_may_use_it_from_their_own_site(live, machine):
    wall = "https://wall.example"
    access = Access(read=[READ], wall_clock=time.time)
    with serve(live, machine, access=access, origins=[wall]) as server:
        url = f"http://{server.address}/api/v1/status"
        asks = {"access-control-request-method": "GET",
                "access-control-request-headers": "authorization"}  # fmt: skip
        allowed = httpx.options(url, headers={"origin": wall, **asks})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == wall
        assert "access-control-allow-credentials" not in allowed.headers
        got = httpx.get(url, headers={"origin": wall, "authorization": f"Bearer {READ}"})
        assert got.headers["access-control-allow-origin"] == wall
        assert httpx.get(url, headers={"origin": wall}).status_code == 401
        evil = httpx.options(url, headers={"origin": "https://evil.example", **asks})
        assert "access-control-allow-origin" not in evil.headers
