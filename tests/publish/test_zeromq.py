"""The ZeroMQ sink, heard by real subscribers in other processes."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from streamer.client import FacesEvent, NothingHeard
from streamer.client import subscribe as hear
from streamer.errors import BindError
from streamer.events import SCHEMA, topic
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import (
    Beat,
    CameraChange,
    Faces,
    Failure,
    Frame,
    NoPicture,
    Outcome,
    Result,
    Stamps,
    Tracks,
)

# A subscriber with nothing of ours in it. It says "ready" at the first message of the topic
# "faces/sync/", to which it subscribes last, then one line for each message heard.
SUBSCRIBER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1])
for topic in (*sys.argv[2:], "faces/sync/"):
    socket.subscribe(topic)
ready = False
while True:
    topic, body = socket.recv_multipart()
    if topic != b"faces/sync/":
        print(topic.decode(), body.decode(), flush=True)
    elif not ready:
        ready = True
        print("ready", flush=True)
"""

# Sends a subscription of 10 MB and says whether the publisher hung up on it.
GREEDY = """
import sys, zmq
from zmq.utils.monitor import recv_monitor_message
socket = zmq.Context().socket(zmq.SUB)
socket.linger = 0
monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
socket.connect(sys.argv[1])
socket.subscribe(b"x" * 10_000_000)
print("hung up" if monitor.poll(20_000) else "kept", flush=True)
import os; os._exit(0)
"""


def outcome(camera: str, index: int = 0, faces: int = 2) -> Outcome:
    found = Faces(
        np.ones((faces, 4), np.float32), np.ones(faces, np.float32), np.ones((faces, 5, 2), "f4")
    )
    frame = Frame(camera, 0, index, time.monotonic(), time.time(), None, NoPicture(1280, 720))
    stamps = Stamps(frame.captured_at, frame.captured_at, frame.captured_at)
    return Result(frame, Tracks(np.arange(faces, dtype=np.int64), found), stamps)


class Subscriber:
    """A subscriber in another process; its lines are read by a thread."""

    def __init__(self, endpoint: str, *topics: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUBSCRIBER, endpoint, *topics], stdout=subprocess.PIPE, text=True
        )
        self.ready = threading.Event()
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith("\n"):
                return  # it was killed in the middle of a word
            if line == "ready\n":
                self.ready.set()
                continue
            name, _, body = line.partition(" ")
            with self.changed:
                self.messages.append((name, json.loads(body)))
                self.changed.notify_all()

    def wait(self, enough: Callable[[], bool], timeout_s: float = 30) -> None:
        with self.changed:
            assert self.changed.wait_for(enough, timeout_s), f"heard only {len(self.messages)}"

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def sink() -> Iterator[ZeroMqSink]:
    sink = ZeroMqSink("tcp://127.0.0.1:*", boot_id="b00t", model="m")
    yield sink
    sink.close()


@pytest.fixture
def subscribe(sink: ZeroMqSink) -> Iterator[Callable[..., Subscriber]]:
    subscribers: list[Subscriber] = []

    def begin(*topics: str) -> Subscriber:
        subscriber = Subscriber(sink.endpoint, *topics)
        subscribers.append(subscriber)
        give_up_at = time.monotonic() + 30
        while not subscriber.ready.wait(0.02):  # a PUB socket does not say who has subscribed
            sink.write(outcome("sync"))
            assert time.monotonic() < give_up_at
        return subscriber

    yield begin
    for subscriber in subscribers:
        subscriber.end()


def test_another_process_hears_every_outcome_in_order(
    sink: ZeroMqSink, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe("faces/door/", "faces/yard/")
    before = sink.written
    frame = outcome("door").frame
    sink.write(Failure(frame, Stamps(0, 0, 0), "no numbers"))
    for index in range(100):
        sink.write(outcome("door", index))
        sink.write(outcome("yard", index))
    assert sink.written - before == 201
    subscriber.wait(lambda: len(subscriber.messages) == 201)
    for camera, count in (("door", 101), ("yard", 100)):
        events = [e for name, e in subscriber.messages if name == f"faces/{camera}/"]
        assert [event["seq"] for event in events] == list(range(1, count + 1))
        assert {event["camera"] for event in events} == {camera}
    failed, first = (e for name, e in subscriber.messages[:2])
    assert (failed["status"], failed["faces"]) == ("failed", None)
    assert (first["schema"], first["boot_id"], first["model"]) == (SCHEMA, "b00t", "m")
    assert (first["width"], first["height"], len(first["faces"])) == (1280, 720, 2)
    assert 0 <= first["age_ms"] < 60_000


def test_cam1_does_not_hear_cam10(sink: ZeroMqSink, subscribe: Callable[..., Subscriber]) -> None:
    subscriber = subscribe(topic("cam1").decode(), "faces/last/")
    for camera in ("cam10", "cam1", "cam100", "cam", "last"):
        sink.write(outcome(camera))
    subscriber.wait(lambda: len(subscriber.messages) >= 2)
    assert [name for name, _ in subscriber.messages] == ["faces/cam1/", "faces/last/"]


def test_a_stopped_subscriber_blocks_nobody_and_sees_its_gap(
    sink: ZeroMqSink, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe("faces/door/")
    subscriber.process.send_signal(signal.SIGSTOP)
    slowest_s = 0.0
    written = outcome("door", faces=6)
    for _ in range(20_000):
        began_at = time.monotonic()
        sink.write(written)
        slowest_s = max(slowest_s, time.monotonic() - began_at)
    assert slowest_s < 2.0  # 5 ms when the machine is idle; a blocked send would take for ever
    subscriber.process.send_signal(signal.SIGCONT)

    def heard_a_gap() -> bool:
        seqs = [event["seq"] for _, event in subscriber.messages]
        return bool(seqs) and seqs[-1] > 20_000 and len(seqs) < seqs[-1]

    give_up_at = time.monotonic() + 30
    while not heard_a_gap():  # what is written after the gap is what tells of it
        sink.write(written)
        assert time.monotonic() < give_up_at
        with subscriber.changed:
            subscriber.changed.wait(0.02)
    seqs = [event["seq"] for _, event in subscriber.messages]
    assert seqs == sorted(set(seqs))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_subscription_of_10_mb_is_refused_and_costs_no_memory(
    sink: ZeroMqSink, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe("faces/door/")
    before = resident_bytes()
    greedy = subprocess.run(
        [sys.executable, "-c", GREEDY, sink.endpoint], capture_output=True, text=True, timeout=60
    )
    assert greedy.stdout.strip() == "hung up"
    assert resident_bytes() - before < 64 * 2**20  # 1.1 GB without the bound
    sink.write(outcome("door"))
    subscriber.wait(lambda: len(subscriber.messages) == 1)


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, bytes(64)])
def test_a_peer_that_speaks_another_language_disturbs_nobody(
    sink: ZeroMqSink, subscribe: Callable[..., Subscriber], greeting: bytes
) -> None:
    host, port = sink.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(greeting)
        subscriber = subscribe("faces/door/")
        sink.write(outcome("door"))
        subscriber.wait(lambda: len(subscriber.messages) == 1)


def test_closing_is_bounded_with_a_stopped_subscriber_and_frees_the_port(
    sink: ZeroMqSink, subscribe: Callable[..., Subscriber]
) -> None:
    subscriber = subscribe("faces/door/")
    subscriber.process.send_signal(signal.SIGSTOP)
    crowd = outcome("door", faces=100)
    for _ in range(1_000):  # 20 MB, more than the kernel takes off our hands
        sink.write(crowd)
    began_at = time.monotonic()
    sink.close()
    assert time.monotonic() - began_at < 8.0  # half a second of linger, on a busy machine
    sink.close()  # twice is once
    again = ZeroMqSink(sink.endpoint, boot_id="b", model="m")
    assert again.endpoint == sink.endpoint
    again.close()


def test_a_busy_port_is_one_sentence(sink: ZeroMqSink) -> None:
    with pytest.raises(BindError) as caught:
        ZeroMqSink(sink.endpoint, boot_id="b", model="m")
    assert str(caught.value) == (
        f"cannot publish on {sink.endpoint}: the address is in use; "
        "stop what uses it or choose another"
    )


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ("", "it is not an address"),
        ("5555", "it is not an address"),
        ("tcp://", "it is not an address"),
        ("tcp://127.0.0.1", "it is not an address"),
        ("tcp://127.0.0.1:99999", "it is not an address"),  # libzmq binds 34463
        ("tcp://127.0.0.1:-1", "it is not an address"),  # libzmq binds 65535
        ("tcp://127.0.0.1:http", "it is not an address"),
        ("http://127.0.0.1:5555", "it is not an address"),
        ("inproc://here", "it is not an address"),
        ("ipc://", "it is not an address"),
        ("tcp://203.0.113.7:5555", "no network of this machine"),
        ("ipc:///no/such/folder/socket", "the folder does not exist"),
        (f"ipc:///tmp/{'a' * 200}", "the path is too long"),
    ],
)
def test_an_address_that_cannot_be_is_one_sentence(bind: str, why: str) -> None:
    with pytest.raises(BindError) as caught:
        ZeroMqSink(bind, boot_id="b", model="m")
    said = str(caught.value)
    assert said.startswith(f"cannot publish on {bind}: {why}")
    assert "\n" not in said


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*"])
def test_any_free_port_is_told(bind: str) -> None:
    sink = ZeroMqSink(bind, boot_id="b", model="m")
    port = int(sink.endpoint.removeprefix("tcp://127.0.0.1:"))
    with socket.create_connection(("127.0.0.1", port)):
        pass
    sink.close()


def test_an_ipc_address_is_for_this_user_only_and_never_stolen(tmp_path: Path) -> None:
    path = tmp_path / "events"
    first = ZeroMqSink(f"ipc://{path}", boot_id="b", model="m")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(BindError, match="the address is in use"):
        ZeroMqSink(f"ipc://{path}", boot_id="b", model="m")
    first.close()
    assert not path.exists()


def test_an_ipc_address_left_behind_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    sink = ZeroMqSink(f"ipc://{path}", boot_id="b", model="m")
    subscriber = Subscriber(sink.endpoint, "faces/door/")
    give_up_at = time.monotonic() + 30
    while not subscriber.ready.wait(0.02):
        sink.write(outcome("sync"))
        assert time.monotonic() < give_up_at
    subscriber.end()
    sink.close()


def test_a_file_in_the_place_of_an_ipc_address_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("keep me")
    with pytest.raises(BindError, match="a file is there; choose another path"):
        ZeroMqSink(f"ipc://{path}", boot_id="b", model="m")
    assert path.read_text() == "keep me"


def test_what_is_published_is_as_wanted_and_counted_without_a_hole() -> None:
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*", boot_id="b", model="m", replay="tcp://127.0.0.1:*",
        form="msgpack", when="changes",
    )  # fmt: skip
    assert sink.replay is not None
    serving = threading.Thread(target=sink.replay.serve)
    serving.start()
    for faces in (0, 0, 2, 2, 1, 1, 0):
        sink.write(outcome("door", faces, faces))
    with hear(sink.endpoint, replay=sink.replay.endpoint, timeout_s=30) as events:
        first = next(events)  # the state, by replay
        assert isinstance(first, FacesEvent)
        assert (first.seq, first.faces) == (4, ())
        sink.write(outcome("door", 9, 3))
        sink.write_beat(Beat(0.0, 0.0, {}))
        second = next(events)
        assert isinstance(second, FacesEvent)
        assert (second.seq, second.frame, len(second.faces or ())) == (5, 9, 3)
    assert sink.written == 5
    sink.close()
    serving.join()


def test_who_comes_late_is_given_no_faces_of_a_camera_that_is_not_live() -> None:
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*", boot_id="b", model="m", replay="tcp://127.0.0.1:*", when="changes"
    )
    assert sink.replay is not None
    serving = threading.Thread(target=sink.replay.serve)
    serving.start()

    def state(**change: Any) -> list[tuple[str, int]]:
        """What one who comes now is given: what it is of, and its number."""
        if change:
            sink.write_change(CameraChange("door", since_at=0.0, wall_at=0.0, **change))
        assert sink.replay is not None
        with hear(
            sink.endpoint, replay=sink.replay.endpoint, changes=True, timeout_s=1, notices=False
        ) as events:
            told = [next(events), next(events)]
            with pytest.raises(NothingHeard):
                told.append(next(events))
        return sorted((type(one).__name__, one.seq) for one in told)  # type: ignore[union-attr]

    sink.write(outcome("door"))
    sink.write(outcome("hall"))
    assert state() == [("FacesEvent", 1)] * 2
    assert state(state="stalled") == [("CameraEvent", 1), ("FacesEvent", 1)]
    sink.write(outcome("door"))  # nothing new, until it is live again
    assert sink.written == 3
    sink.write_change(CameraChange("door", since_at=0.0, wall_at=0.0, state="live"))
    sink.write(outcome("door"))
    assert sink.written == 5
    sink.close()
    serving.join()


def test_a_burst_goes_out_at_its_end_or_sooner_where_it_is_much(sink: ZeroMqSink) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as hears:
        hears.linger = 0
        hears.connect(sink.endpoint)
        hears.subscribe(b"")
        give_up_at = time.monotonic() + 30
        while not hears.poll(20):
            sink.write(outcome("sync"))
            assert time.monotonic() < give_up_at
        while hears.poll(200):
            hears.recv_multipart()

        def heard(count: int) -> list[tuple[bytes, int]]:
            parts = [hears.recv_multipart() for _ in range(count) if hears.poll(20_000)]
            return [(to, json.loads(body)["seq"]) for to, body in parts]

        with sink.burst():
            sink.write(outcome("door"))
            sink.write_beat(Beat(0.0, 0.0, {}))
            sink.write(outcome("door"))
            assert not hears.poll(100)
        assert heard(3) == [(b"faces/door/", 1), (b"heartbeat/", 1), (b"faces/door/", 2)]
        with sink.burst():
            for _ in range(3):
                sink.write(outcome("door", faces=100))
            assert heard(3) == [(b"faces/door/", seq) for seq in (3, 4, 5)]
        with pytest.raises(ValueError, match="finite"), sink.burst():
            sink.write(outcome("door"))
            broken = outcome("door")
            broken.tracks.faces.boxes[0, 0] = np.nan  # type: ignore[union-attr]
            sink.write(broken)
        assert heard(1) == [(b"faces/door/", 6)]  # what came before the fault is not lost
