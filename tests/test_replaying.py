"""The running program, heard by a subscriber that comes late and by who counts heartbeats."""

from __future__ import annotations

import threading

import msgspec
import zmq

from streamer.client import CameraEvent, FacesEvent, subscribe
from tests.test_app import app_of, config

REPLAY = {"zeromq": {"bind": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}}


def test_who_comes_late_has_the_state_and_loses_nothing(model_path: object) -> None:
    camera = {"source": "demo:", "input_size": 320, "max_fps": 5}
    app = app_of(config({"door": camera}, publish=REPLAY))
    thread = threading.Thread(target=app.run)
    thread.start()
    assert app.zeromq is not None
    assert app.zeromq.replay is not None
    endpoint, replay = app.zeromq.endpoint, app.zeromq.replay.endpoint
    context = zmq.Context()
    raw = context.socket(zmq.SUB)
    raw.connect(endpoint)
    raw.subscribe(b"heartbeat/")
    beats = []
    while len(beats) < 3:
        assert raw.poll(20_000)
        beats.append(msgspec.json.decode(raw.recv_multipart()[1]))
    with subscribe(endpoint, replay=replay, changes=True, timeout_s=30) as events:
        states, seqs = [], []
        while len(seqs) < 10:
            event = next(events)
            if isinstance(event, CameraEvent):
                states.append((event.state, event.seq))  # said long ago
            else:
                assert isinstance(event, FacesEvent)
                seqs.append(event.seq)
        assert seqs == list(range(seqs[0], seqs[0] + 10))
        assert states == [("live", beats[-1]["last"]["camera/door/"])]
        assert events.lost == 0
    context.destroy(linger=0)
    app.stop()
    thread.join()
    assert [b["seq"] for b in beats] == list(range(beats[0]["seq"], beats[0]["seq"] + 3))
    ledger = beats[-1]["cameras"]["door"]
    assert ledger.pop("captured") == sum(ledger.values())
