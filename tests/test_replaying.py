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
    app.stop()
    while not beats[-1]["ended"]:
        assert raw.poll(20_000)
        beats.append(msgspec.json.decode(raw.recv_multipart()[1]))
    thread.join()
    assert not raw.poll(100)  # it was the last
    context.destroy(linger=0)
    assert [b["seq"] for b in beats] == list(range(beats[0]["seq"], beats[0]["seq"] + len(beats)))
    for beat in beats:
        ledger = beat["cameras"]["door"]
        assert ledger.pop("captured") == sum(ledger.values())
    assert beats[0]["states"] == {"door": "live"}
    assert [beat["ended"] for beat in beats] == [False] * (len(beats) - 1) + [True]
    last, zeromq = beats[-1], beats[-1]["sinks"]["zeromq"]
    # Final counts: nothing is in flight, and every outcome was published.
    assert last["cameras"]["door"]["in_flight"] == 0
    assert last["states"] == {"door": "stopped"}
    outcomes = last["cameras"]["door"]["detected"] + last["cameras"]["door"]["tracked"]
    assert last["last"]["faces/door/"] == outcomes
    assert (zeromq["depth"], zeromq["capacity"], zeromq["dropped"]) == (0, 64, 0)
