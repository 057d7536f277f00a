"""A real RTSP camera with digest authentication, over TCP and UDP: the truth is found there too."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import pytest

from streamer.resources import resource
from tests.e2e.program import assert_contiguous, collect, free_port, get, running, wait_until_up
from tests.evaluate import Score, load_truth, score_frames, truth_of
from tests.rtsp import RtspServer

PASSWORD = "p@ss:w/rd-canary"


def best_score(events: list[dict[str, Any]]) -> Score:
    """The score at the clip position where the camera was joined, which nobody tells."""
    truth = load_truth()
    found = [
        [(tuple(face["bbox"]), face["confidence"]) for face in event["faces"]] for event in events
    ]

    def score(offset: int, step: int) -> Score:
        frames = [event["frame"] + offset for event in events]
        expected = [[face.bbox for face in truth_of(truth, frame)] for frame in frames]
        return score_frames(found[::step], expected[::step], iou=0.5)

    near = max(range(250), key=lambda offset: score(offset, 8).iou_sum)
    return score(near, 1)


@pytest.mark.rtsp
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_truth_is_found_over_rtsp(
    transport: Literal["tcp", "udp"],
    tmp_path: Path,
    rtsp_server: Callable[..., AbstractContextManager[RtspServer]],
) -> None:
    http, events_port = free_port(), free_port()
    with rtsp_server(
        resource("demo.mp4"), user="cam", password=PASSWORD, transport=transport
    ) as server:
        file = tmp_path / "rtsp.yaml"
        file.write_text(
            f"""
cameras:
  door: {{source: "{server.url()}", transport: {transport}, every: 2}}
http: {{bind: "127.0.0.1:{http}"}}
publish: {{zeromq: {{bind: "tcp://127.0.0.1:{events_port}"}}}}
"""
        )
        with running("run", str(file)) as program:
            wait_until_up(f"http://127.0.0.1:{http}/healthz", program)
            events = collect(f"tcp://127.0.0.1:{events_port}", 14.0)
            status = get(f"http://127.0.0.1:{http}/api/v1/status").decode()
            metrics = get(f"http://127.0.0.1:{http}/metrics").decode()
            program.send_signal(signal.SIGTERM)
            out, err = program.communicate(timeout=30)
    assert program.returncode == 0, err
    assert len(events) > 80
    assert_contiguous(events)
    # Of frames that were looked at: where faces are expected in between depends on how many
    # looks a busy machine had to leave out, and is tested on files.
    score = best_score([event for event in events if event["status"] == "detected"])
    assert score.recall >= 0.98, score
    assert score.precision >= 0.98, score
    camera = json.loads(status)["cameras"][0]
    assert camera["state"] == "live"
    assert "yes" in next(line for line in out.splitlines() if "door" in line)
    for text in (out, err, status, metrics, json.dumps(events)):
        assert "canary" not in text
        assert "p%40ss" not in text
