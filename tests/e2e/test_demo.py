"""`streamer demo` as a newcomer runs it: events, truth, metrics, page and ledger."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.e2e.program import (
    assert_contiguous,
    collect,
    free_port,
    get,
    readme_block,
    running,
    wait_until_up,
)
from tests.evaluate import load_truth, score_frames, truth_of

CAMERAS = {"entrance", "hall", "lobby"}


def test_demo_from_start_to_ledger() -> None:
    http, events_port = free_port(), free_port()
    endpoint = f"tcp://127.0.0.1:{events_port}"
    with running(
        "demo", "--seconds", "26", "--http", f"127.0.0.1:{http}", "--zeromq", endpoint
    ) as demo:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", demo)
        events = collect(endpoint, 17.0)
        status = json.loads(get(f"http://127.0.0.1:{http}/api/v1/status"))
        page = get(f"http://127.0.0.1:{http}/").decode()
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == 0, err

    assert {event["camera"] for event in events} == CAMERAS
    assert_contiguous(events)
    truth = load_truth()
    predicted, expected = [], []
    for event in events:
        assert event["status"] in ("detected", "tracked")  # every second frame is looked at
        sources = {face["source"] for face in event["faces"]}
        assert event["status"] == "detected" or sources <= {"predicted"}
        assert (event["width"], event["height"]) == (1280, 720)
        assert 0 < event["age_ms"] < 5000
        predicted.append([(tuple(face["bbox"]), face["confidence"]) for face in event["faces"]])
        expected.append([tuple(face.bbox) for face in truth_of(truth, event["frame"])])
    score = score_frames(predicted, expected, iou=0.5)
    assert len(events) > 60
    assert {event["status"] for event in events} == {"detected", "tracked"}
    assert score.recall >= 0.98, score
    assert score.precision >= 0.98, score

    assert len(status["cameras"]) == 3
    assert "<canvas" in page or "app.js" in page
    assert "Ledger" in out
    for camera in CAMERAS:
        row = next(line for line in out.splitlines() if camera in line)
        captured, detected, tracked, skipped, dropped, in_flight = map(
            int, re.findall(r"\b\d+\b", row)[:6]
        )
        assert captured > 0
        assert captured == detected + tracked + skipped + dropped + in_flight
        assert in_flight == 0
        assert "yes" in row


def test_the_subscriber_of_the_readme_works() -> None:
    http, events_port = free_port(), free_port()
    snippet = readme_block("Subscribe", "python").replace("5555", str(events_port))
    with running(
        "demo", "--http", f"127.0.0.1:{http}", "--zeromq", f"tcp://127.0.0.1:{events_port}"
    ) as demo:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", demo)
        with subprocess.Popen(
            [sys.executable, "-c", snippet], stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout is not None
            lines = [reader.stdout.readline() for _ in range(250)]
            reader.kill()
        assert {line.split()[0] for line in lines} == CAMERAS
        assert {line.split()[2] for line in lines} == {"detected", "tracked"}
        demo.send_signal(signal.SIGTERM)
        out, err = demo.communicate(timeout=30)
    assert demo.returncode == 0, err
    assert "Ledger" in out


@pytest.mark.prometheus
def test_promtool_accepts_the_metrics_of_the_demo() -> None:
    http = free_port()
    with running(
        "demo", "--http", f"127.0.0.1:{http}", "--zeromq", f"tcp://127.0.0.1:{free_port()}"
    ) as demo:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", demo)
        collect_until_detected(http)
        body = get(f"http://127.0.0.1:{http}/metrics")
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)
    assert demo.returncode == 0
    promtool = shutil.which("promtool")
    assert promtool
    lint = subprocess.run(
        [promtool, "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert b'streamer_frames_detected_total{camera="hall"}' in body


def collect_until_detected(http: int) -> None:
    """Wait until every camera has detected something."""
    for _ in range(300):
        status = json.loads(get(f"http://127.0.0.1:{http}/api/v1/status"))
        if all(camera["ledger"]["settled"].get("detected", 0) for camera in status["cameras"]):
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError("some camera never detected anything")


@pytest.mark.browser
def test_the_page_shows_moving_annotated_pictures() -> None:
    from playwright.sync_api import sync_playwright

    http = free_port()
    with running(
        "demo", "--http", f"127.0.0.1:{http}", "--zeromq", f"tcp://127.0.0.1:{free_port()}"
    ) as demo:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", demo)
        with sync_playwright() as play:
            browser = play.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"http://127.0.0.1:{http}/")
            page.wait_for_function(
                "() => document.querySelectorAll('#wall [data-look=live] canvas').length === 3",
                timeout=30_000,
            )
            # A hash of each canvas changes: the pictures move.
            grab = "() => [...document.querySelectorAll('#wall canvas')].map(c => c.toDataURL())"
            first = page.evaluate(grab)
            page.wait_for_function(
                """(first) => [...document.querySelectorAll('#wall canvas')]
                    .every((c, i) => c.toDataURL() !== first[i])""",
                arg=first,
                timeout=30_000,
            )
            browser.close()
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=30)
    assert demo.returncode == 0
