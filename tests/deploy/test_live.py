"""A running streamer, watched as an operator would: panels have data, the right alert comes."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamer.resources import resource
from tests.deploy.live_prometheus import ROOT, faster, prometheus, wait_for
from tests.e2e.program import free_port, running
from tests.rtsp import RtspServer

FACTOR = 12


def expressions(dashboard: Path, **chosen: str) -> list[tuple[str, str]]:
    """Every panel's title and expression, with what a viewer chose filled in."""
    found = []
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "15s")
            for name, value in chosen.items():
                expression = expression.replace(f"${name}", value)
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    return found


def test_a_faster_clock_changes_every_duration_of_the_rules_and_nothing_else() -> None:
    text = "for: 2m\ninterval: 15s\nexpr: rate(a_1m[5m] offset 1h) > 10\nkeep_firing_for: 10m"
    assert faster(text, 20) == (
        "for: 6000ms\ninterval: 750ms\nexpr: rate(a_1m[15000ms] offset 180000ms) > 10\n"
        "keep_firing_for: 30000ms"
    )


@pytest.mark.rtsp
@pytest.mark.prometheus
def test_every_panel_has_data_and_a_killed_camera_is_the_one_alert(
    tmp_path: Path, rtsp_server: Callable[..., AbstractContextManager[RtspServer]]
) -> None:
    http = free_port()
    with rtsp_server(resource("demo.mp4")) as server:
        token = tmp_path / "http_token"
        token.write_text(secrets.token_hex(24))
        file = tmp_path / "streamer.yaml"
        file.write_text(
            f"""
cameras:
  door: {{source: "{server.url()}", every: 5, input_size: 320}}
  hall: {{source: "demo:", every: 5, input_size: 320}}
http: {{bind: "0.0.0.0:{http}", tokens: {{read: "file:{token}"}}}}
publish: {{zeromq: {{bind: "tcp://127.0.0.1:{free_port()}"}}}}
"""
        )
        with (
            running("run", str(file)),
            prometheus(tmp_path, f"127.0.0.1:{http}", token=token, factor=FACTOR) as watch,
        ):
            wait_for("both cameras are live", lambda: len(live(watch)) == 2)
            for title, expression in _panels():
                wait_for(f"data for {title}: {expression}", partial(_has_data, watch, expression))
            assert watch.firing() == set()
            server.kill()
            wait_for("an alert", lambda: watch.firing() != set())
            more_until = time.monotonic() + 10
            while time.monotonic() < more_until:
                assert watch.firing() == {("StreamerCameraDown", "door")}
                time.sleep(0.5)
            assert live(watch) == {"hall"}


def live(watch: Any) -> set[str]:
    return {each["metric"]["camera"] for each in watch.query("streamer_camera_up == 1")}


def _panels() -> list[tuple[str, str]]:
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    asked = [
        *expressions(folder / "fleet.json", instance=".*"),
        *expressions(folder / "camera.json", instance=".*", camera="door"),
        *expressions(folder / "camera.json", instance=".*", camera="hall"),
    ]
    assert len(asked) > 60
    return asked


def _has_data(watch: Any, expression: str) -> bool:
    return any(each["value"][1] != "NaN" for each in watch.query(expression))
