"""The composition root: what a configuration becomes, with real sources, model and sockets."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.app import App
from streamer.config import Config, parse_config
from streamer.errors import BindError, ModelError, SourceLost
from streamer.resources import resource
from streamer.testing import CollectingSink
from streamer.types import Result
from streamer.vision.boxes import iou

ROOT = Path(__file__).resolve().parent.parent


def config(cameras: dict[str, Any], **sections: Any) -> Config:
    values = {
        "cameras": cameras,
        "device": "cpu",
        "http": None,
        "publish": {"zeromq": None},
        **sections,
    }
    return parse_config(values, {})


def app_of(settings: Config, folder: Path = ROOT, **options: Any) -> App:
    return App(settings, base_folder=folder, environ={}, **options)


def assert_ledgers_close(app: App) -> None:
    for camera in app.status().cameras:
        assert camera.ledger.closes, camera
        assert camera.ledger.in_flight == 0


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """Every test here needs the real model."""


def test_files_are_detected_whole_and_in_order() -> None:
    sink = CollectingSink()
    clip = str(resource("demo.mp4"))
    app = app_of(
        config({"a": {"source": clip}, "b": {"source": clip, "every": 5, "input_size": 320}}),
        extra_sinks={"collect": sink},
    )
    app.run()
    assert_ledgers_close(app)
    a = [o for o in sink.outcomes if o.frame.camera == "a"]
    b = [o for o in sink.outcomes if o.frame.camera == "b"]
    assert [o.frame.index for o in a] == list(range(250))
    assert [o.frame.index for o in b] == list(range(250))
    assert [o.frame.index for o in b if o.status == "detected"] == list(range(0, 250, 5))
    assert all(isinstance(o, Result) for o in (*a, *b))
    status = app.status()
    assert [c.source.state for c in status.cameras] == ["ended", "ended"]
    assert status.cameras[1].ledger.settled == {"detected": 50, "tracked": 200}
    assert status.cameras[0].faces_total > 900
    assert sink.closed


def test_looking_at_every_fifth_frame_nearly_all_faces_of_all_frames_are_said() -> None:
    sink = CollectingSink()
    clip = str(resource("demo.mp4"))
    cameras = {"all": {"source": clip, "fill": False}, "fifth": {"source": clip, "every": 5}}
    app = app_of(config(cameras), extra_sinks={"collect": sink})
    app.run()
    assert_ledgers_close(app)
    truth, said = (
        [o.tracks for o in sink.outcomes if isinstance(o, Result) and o.frame.camera == camera]
        for camera in ("all", "fifth")
    )
    assert len(truth) == len(said) == 250
    right = wrong = 0
    for true, told in zip(truth, said, strict=True):
        table = iou(true.faces.boxes, told.faces.boxes) >= 0.5
        right += int(table.any(axis=1).sum())
        wrong += int((~table.any(axis=0)).sum())
    faces = sum(map(len, truth))
    assert right >= 0.97 * faces, (right, wrong, faces)
    assert wrong <= 0.05 * faces, (right, wrong, faces)


def test_frames_that_are_not_looked_at_are_skipped_without_fill() -> None:
    sink = CollectingSink()
    camera = {"source": str(resource("demo.mp4")), "every": 25, "fill": False, "input_size": 320}
    app = app_of(config({"a": camera}), extra_sinks={"collect": sink})
    app.run()
    ledger = app.status().cameras[0].ledger
    assert (ledger.skipped, ledger.settled) == (240, {"detected": 10})
    assert [o.frame.index for o in sink.outcomes] == list(range(0, 250, 25))


def test_max_fps_of_a_file_goes_by_the_time_of_the_file() -> None:
    sink = CollectingSink()
    app = app_of(
        config(
            {
                "a": {
                    "source": str(resource("demo.mp4")),
                    "max_fps": 5,
                    "fill": False,
                    "input_size": 320,
                }
            }
        ),
        extra_sinks={"collect": sink},
    )
    app.run()
    assert len(sink.outcomes) == 50  # 10 s at 5 a second, however fast it was read


def test_a_file_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("not a video")
    sink = CollectingSink()
    app = app_of(
        config(
            {
                "bad": {"source": "bad.mp4"},
                "good": {"source": str(resource("demo.mp4")), "every": 25, "fill": False},
            }
        ),
        tmp_path,
        extra_sinks={"collect": sink},
    )
    with pytest.raises(SourceLost, match=r"bad\.mp4"):
        app.run()
    assert_ledgers_close(app)
    assert len(sink.outcomes) == 10
    assert [c.source.state for c in app.status().cameras] == ["refused", "ended"]


def test_everything_that_is_read_agrees() -> None:
    app = app_of(
        config(
            {"a": {"source": "synthetic:?fps=20&size=320x192", "input_size": 320}},
            http={"bind": "127.0.0.1:0"},
            publish={"zeromq": {"bind": "tcp://127.0.0.1:*"}},
        )
    )
    assert app.http is not None
    assert app.zeromq is not None
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.connect(app.zeromq.endpoint)
    socket.subscribe(b"faces/a/")
    runner = threading.Thread(target=app.run, kwargs={"seconds": 30.0})
    runner.start()
    try:
        assert socket.poll(15_000)
        event = json.loads(socket.recv_multipart()[1])
        assert (event["camera"], event["boot_id"]) == ("a", app.boot_id)
        with urllib.request.urlopen(f"http://{app.http.address}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'streamer_camera_up{camera="a"} 1.0' in metrics
        with urllib.request.urlopen(f"http://{app.http.address}/api/v1/status", timeout=10) as got:
            assert json.loads(got.read())["boot_id"] == app.boot_id
        # The ledger balances at any instant, not only at the end.
        for _ in range(300):
            assert app.status().cameras[0].ledger.closes
    finally:
        app.stop()
        runner.join(15)
        socket.close(0)
    assert not runner.is_alive()
    assert_ledgers_close(app)


def test_one_size_one_detector_and_one_session_for_all() -> None:
    app = app_of(
        config(
            {
                "a": {"source": "synthetic:"},
                "b": {"source": "synthetic:"},
                "c": {"source": "synthetic:", "input_size": 320},
            }
        )
    )
    detectors = {line.name: line.work.detector for line in app._cameras.lines()}
    assert detectors["a"] is detectors["b"]
    assert detectors["a"] is not detectors["c"]


def test_what_was_bound_is_let_go_when_a_later_part_cannot_be_built(free_port: int) -> None:
    address = f"127.0.0.1:{free_port}"
    cameras = {"a": {"source": "synthetic:"}}
    taken = app_of(config(cameras, http={"bind": address}))
    assert taken.http is not None
    try:
        endpoint = "ipc:///tmp/streamer-test-undo.sock"
        for _ in range(2):  # the second try would fail on ZeroMQ if the first had kept it
            with pytest.raises(BindError, match=str(free_port)):
                app_of(
                    config(cameras, http={"bind": address}, publish={"zeromq": {"bind": endpoint}})
                )
    finally:
        taken.http.close()


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    settings = config({"a": {"source": "synthetic:"}}, model={"path": "none.onnx"})
    with pytest.raises(ModelError, match="streamer models pull"):
        app_of(settings, tmp_path)
