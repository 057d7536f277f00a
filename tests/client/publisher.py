"""A publisher in another process: a PUB socket, a history, and the replay of it.

    python publisher.py EVENTS REPLAY BOOT_ID HISTORY_BYTES CAMERA...

It says its two endpoints in one line of JSON, publishes for every camera as often as the parent
says in lines of standard input (``COUNT PAUSE_S``), answers each such line with "done" and what it
published last, beats each half second meanwhile, and ends with its standard input.
"""

import json
import queue
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import zmq

from streamer.events import (
    camera_event,
    camera_topic,
    encode,
    faces_event,
    topic,
)
from streamer.publish.history import History
from streamer.publish.replay import Replay
from streamer.types import CameraChange, Faces, Frame, NoPicture, Result, Stamps, Tracks

BEAT_S = 0.5


def faces(camera: str, seq: int, boot_id: str) -> bytes:
    frame = Frame(camera, 0, seq, time.monotonic(), 0.0, None, NoPicture(64, 48))
    found = Faces(np.ones((3, 4), "f4"), np.ones(3, "f4"), np.ones((3, 5, 2), "f4"))
    result = Result(frame, Tracks(np.arange(3), found), Stamps(0, 0, 0))
    return encode(
        faces_event(result, seq=seq, boot_id=boot_id, model="m", now_at=frame.captured_at)
    )


def change(camera: str, seq: int, boot_id: str) -> bytes:
    said = CameraChange(camera, "live", 0.0, 0.0)
    return encode(camera_event(said, seq=seq, boot_id=boot_id, now_at=0.0))


class Publisher:
    def __init__(self, events: str, replay: str, boot_id: str, history_bytes: int) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUB)
        self.socket.bind(events)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.boot_id = boot_id
        self.history = History(max_bytes=history_bytes, max_age_s=600)
        self.replay = Replay(replay, self.history, boot_id=boot_id)
        self.serving = threading.Thread(target=self.replay.serve)
        self.serving.start()
        self.last: dict[str, int] = {}
        self.beats = 0
        self.beat_at = 0.0

    def send(self, to: bytes, body: bytes) -> None:
        seq = self.last[to.decode()] = self.last.get(to.decode(), 0) + 1
        self.history.add(to, seq, body, time.monotonic())
        self.socket.send_multipart((to, body), zmq.NOBLOCK)

    def begin(self, camera: str) -> None:
        self.send(camera_topic(camera), change(camera, 1, self.boot_id))

    def publish(self, camera: str) -> None:
        to = topic(camera)
        self.send(to, faces(camera, self.last.get(to.decode(), 0) + 1, self.boot_id))

    def beat(self, now: float) -> None:
        if now < self.beat_at:
            return
        self.beat_at = now + BEAT_S
        self.beats += 1
        said = {
            "schema": "streamer.heartbeat/1", "boot_id": self.boot_id, "seq": self.beats,
            "last": self.last, "wall_at": 0.0, "cameras": {}, "a_field_to_come": [1],
        }  # fmt: skip
        self.socket.send_multipart((b"heartbeat/", json.dumps(said).encode()), zmq.NOBLOCK)

    def close(self) -> None:
        self.replay.close()
        self.serving.join()
        self.context.destroy(linger=500)


def main(events: str, replay: str, boot_id: str, history_bytes: str, *cameras: str) -> None:
    publisher = Publisher(events, replay, boot_id, int(history_bytes))
    for camera in cameras:
        publisher.begin(camera)
    print(json.dumps([publisher.endpoint, publisher.replay.endpoint]), flush=True)
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(line)
        orders.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            order = orders.get(timeout=0.05)
        except queue.Empty:
            publisher.beat(time.monotonic())
            continue
        if not order:
            break
        count, pause_s = order.split()
        for _ in range(int(count)):
            for camera in cameras:
                publisher.publish(camera)
            publisher.beat(time.monotonic())
            time.sleep(float(pause_s))
        print("done", json.dumps(publisher.last), flush=True)
    publisher.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
