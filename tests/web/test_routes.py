"""What answers at which path."""

from __future__ import annotations

import time

import cv2
import httpx
import numpy as np
import pytest

from streamer.status import SourceState
from tests.web.clients import serve
from tests.web.synthetic import outcome
from tests.web.test_cameras_api import Door


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/cameras/door/snapshot.jpg", "image/jpeg"),
    ],
)
def test_every_path_answers_get_and_head_with_safe_headers(server, live, path, kind):
    live.write(outcome("door"))
    got = httpx.get(f"http://{server.address}{path}")
    assert got.status_code == 200
    assert got.headers["content-type"] == kind
    head = httpx.head(f"http://{server.address}{path}")
    assert head.status_code == 200
    assert head.content == b""
    for answer in (got, head):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_asks_no_other_host(server):
    for path in ("/", "/static/app.js", "/static/style.css"):
        text = httpx.get(f"http://{server.address}{path}").text
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "https://" not in text
        assert "innerHTML" not in text, "names of cameras are text, never markup"


def test_another_method_is_told_which_there_are(server, live, machine):
    answer = httpx.delete(f"http://{server.address}/api/v1/status")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    with serve(live, machine, cameras=Door(machine)) as changing:
        answer = httpx.patch(f"{changing.url}api/v1/cameras/door")
        assert answer.headers["allow"] == "DELETE, GET, POST, PUT"


def test_metrics_gets_the_accept_header(server):
    answer = httpx.get(
        f"http://{server.address}/metrics", headers={"accept": "application/openmetrics-text"}
    )
    assert answer.text == "# EOF\n"
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_status_tells_everything_and_no_secret(server, machine):
    machine.changes["door"] = {
        "url": "rtsp://admin:s3cret@10.0.0.7/a?token=hush",
        "source": SourceState("backing_off", time.monotonic() - 9, "auth", "rtsp://a:s3cret@x"),
        "latency_p50_s": None,
        "newest_age_s": float("inf"),
    }
    answer = httpx.get(f"http://{server.address}/api/v1/status")
    assert "s3cret" not in answer.text
    assert "hush" not in answer.text
    door = answer.json()["cameras"][0]
    assert door["state"] == "backing_off"
    assert door["reason"] == "auth"
    assert 9 <= door["for_s"] < 19
    assert door["latency_p50_s"] is None
    assert door["newest_age_s"] is None
    assert door["ledger"]["captured"] == 1234
    assert door["ledger"]["dropped"] == [{"stage": "infer", "reason": "queue_full", "frames": 12}]
    assert door["ledger"]["imbalance"] == 0
    assert answer.json()["stages"]["infer"] == {"count": 6, "sum_s": 0.9, "mean_s": 0.15}


def test_a_snapshot_says_what_it_is(server, live):
    url = f"http://{server.address}/api/v1/cameras/door/snapshot.jpg"
    missing = httpx.get(url)
    assert missing.status_code == 503
    assert "no picture yet" in missing.json()["error"]
    live.write(outcome("door", 7, width=640, height=360))
    fresh = httpx.get(url, params={"width": 480})
    assert fresh.headers["x-streamer-status"] == "live"
    assert fresh.headers["x-streamer-frame"] == "7"
    assert int(fresh.headers["x-streamer-age-ms"]) < 3000
    image = cv2.imdecode(np.frombuffer(fresh.content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (270, 480, 3)
    live.write(outcome("door", 8, at=time.monotonic() - 60, width=640, height=360))
    stale = httpx.get(url, params={"width": 480})
    assert stale.headers["x-streamer-status"] == "stale"
    assert int(stale.headers["x-streamer-age-ms"]) >= 60_000
    dark = cv2.imdecode(np.frombuffer(stale.content, np.uint8), cv2.IMREAD_COLOR)
    assert dark.mean() < 0.7 * image.mean(), "its pixels say so too"


def test_health_fails_while_a_run_of_the_model_does_not_end(server, machine):
    assert httpx.get(f"http://{server.address}/healthz").json()["status"] == "ok"
    machine.stuck_s = 60.0
    ill = httpx.get(f"http://{server.address}/healthz")
    assert ill.status_code == 503
    assert "restart streamer" in ill.json()["detail"]


def test_the_status_says_what_is_wrong_with_the_device(server):
    status = httpx.get(f"http://{server.address}/api/v1/status").json()
    assert "because it is a test" in status["device_warning"]
    assert status["inference_faults"] == {"hang": 2}
    assert status["inference_stuck_s"] == 0
