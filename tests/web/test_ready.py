"""Whether streamer does its job, check by check."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from streamer.status import RestreamStatus, SourceState
from streamer.web.ready import readiness, readiness_json
from tests.web.synthetic import Machine


def reading(**changes: Any) -> Any:
    machine = Machine(("a", "b"))
    for name in ("a", "b"):
        machine.changes[name] = {k[2:]: v for k, v in changes.items() if k.startswith(f"{name}_")}
    status = replace(machine.status(), provider="cpu", device_warning="")
    top = {k: v for k, v in changes.items() if not k.startswith(("a_", "b_"))}
    return replace(status, **top)


PAUSED = SourceState("stopped", time.monotonic())
DOWN = SourceState("backing_off", time.monotonic(), "stall")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, set()),
        ({"a_source": DOWN}, set()),
        ({"cameras": []}, set()),
        ({"requested_device": "cpu"}, set()),
        ({"requested_device": "cuda:1", "provider": "cuda"}, set()),
        ({"a_newest_age_s": 99.0}, set()),
        ({"a_source": DOWN, "b_source": DOWN}, {"cameras"}),
        ({"a_source": PAUSED, "b_source": PAUSED}, set()),
        ({"a_source": PAUSED, "b_source": DOWN}, {"cameras"}),
        ({"a_newest_age_s": 11.0, "b_newest_age_s": 99.0}, {"results"}),
        ({"a_newest_age_s": None, "b_newest_age_s": None}, {"results"}),
        ({"a_source": DOWN, "b_newest_age_s": 99.0}, {"results"}),
        ({"requested_device": "cuda"}, {"model"}),
        ({"inference_stuck_s": 11.0}, {"model"}),
        ({"a_source": DOWN, "b_source": DOWN, "inference_stuck_s": 11.0}, {"cameras", "model"}),
    ],
)
def test_the_checks_that_fail_are_named(changes: dict[str, Any], wrong: set[str]) -> None:
    status = reading(**changes)
    assert {name for name, detail in readiness(status).items() if detail} == wrong
    code, body = readiness_json(status)
    assert code == (503 if wrong else 200)
    assert {name for name, check in body["checks"].items() if not check["ok"]} == wrong
    for check in body["checks"].values():
        assert check["ok"] is not bool(check.get("detail"))


def test_streams_that_are_lost_are_told_and_fail_nothing() -> None:
    streams = [
        RestreamStatus("a", "rtsp://relay/a", "backing_off", "refused"),
        RestreamStatus("b", "rtsp://relay/b", "connecting", losses={"refused": 2}),
        RestreamStatus("c", "rtsp://relay/c", "connecting"),
        RestreamStatus("d", "rtsp://relay/d", "live", losses={"refused": 2}),
    ]
    code, body = readiness_json(reading(restreams=streams))
    assert code == 200
    assert body["checks"]["sinks"] == {
        "ok": True,
        "detail": "2 of 4 streams of publish.restream lost; see /api/v1/status",
    }
    assert "detail" not in readiness_json(reading(restreams=streams[2:]))[1]["checks"]["sinks"]


def test_a_sink_that_ended_is_named() -> None:
    status = reading()
    ended = replace(status, sinks=[replace(status.sinks[0], running=False)])
    assert readiness(ended)["sinks"].startswith("live has ended")


def test_a_model_that_fell_back_to_the_cpu_is_ready_and_says_so() -> None:
    why = "running on the CPU, because there is no driver; install it"
    code, body = readiness_json(reading(device_warning=why))
    assert (code, body["checks"]["model"]) == (200, {"ok": True, "detail": why})
    _, body = readiness_json(reading(device_warning=why, inference_stuck_s=11.0))
    assert body["checks"]["model"]["detail"] != why
