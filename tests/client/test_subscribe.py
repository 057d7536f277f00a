"""The client, against real publishers on real sockets."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq

from streamer.client import CannotSubscribe, NothingHeard, Subscription, subscribe
from streamer.errors import StreamerError
from streamer.events import MAX_MESSAGE_BYTES, encode, faces_event, topic
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Faces, Frame, NoPicture, Result, Stamps, Tracks


def outcome(camera: str, index: int = 0) -> Result:
    frame = Frame(camera, 0, index, time.monotonic(), 0.0, None, NoPicture(64, 48))
    return Result(frame, Tracks(np.zeros(0, np.int64), Faces.none()), Stamps(0, 0, 0))


def message(camera: str, seq: int) -> bytes:
    return encode(faces_event(outcome(camera), seq=seq, boot_id="b", model="m", now_at=0.0))


class Publisher:
    """A publisher on a thread of its own that repeats what it is told, until told otherwise."""

    def __init__(self, write: Callable[[], None], close: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self.write = write
        self.close = close
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stopping.wait(0.005):
            self.write()
        self.close()

    def end(self) -> None:
        self.stopping.set()
        self.thread.join()


@pytest.fixture
def publish() -> Iterator[Callable[..., str]]:
    publishers: list[Publisher] = []

    def begin(*cameras: str, bind: str = "tcp://127.0.0.1:*", boot_id: str = "b") -> str:
        sink = ZeroMqSink(bind, boot_id=boot_id, model="m")
        publishers.append(
            Publisher(lambda: [sink.write(outcome(c)) for c in cameras] and None, sink.close)
        )
        return sink.endpoint

    begin.publishers = publishers  # type: ignore[attr-defined]
    yield begin
    for publisher in publishers:
        publisher.end()


def test_all_cameras_are_heard_in_order_and_without_gaps(publish: Callable[..., str]) -> None:
    endpoint = publish("door", "yard")
    with subscribe(endpoint, timeout_s=30) as events:
        heard = [next(events) for _ in range(40)]
    for camera in ("door", "yard"):
        seqs = [event.seq for event in heard if event.camera == camera]
        assert len(seqs) >= 19
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert events.malformed == 0


def test_only_the_cameras_asked_for_are_heard(publish: Callable[..., str]) -> None:
    endpoint = publish("cam1", "cam10", "door")
    with subscribe(endpoint, ["cam1", "door"], timeout_s=30) as events:
        assert {next(events).camera for _ in range(20)} == {"cam1", "door"}


def test_a_publisher_that_comes_later_and_again_is_heard(publish: Callable[..., str]) -> None:
    endpoint = publish("door")
    publishers = publish.publishers  # type: ignore[attr-defined]
    with subscribe(endpoint, timeout_s=30) as events:
        assert next(events).boot_id == "b"
        publishers.pop().end()
        publish("door", bind=endpoint, boot_id="again")
        give_up_at = time.monotonic() + 60
        while next(events).boot_id != "again":
            assert time.monotonic() < give_up_at


def test_silence_is_an_error_that_says_what_to_look_at() -> None:
    with (
        subscribe("tcp://127.0.0.1:1", timeout_s=0.05) as events,
        pytest.raises(NothingHeard) as caught,
    ):
        next(events)
    assert isinstance(caught.value, StreamerError)
    assert isinstance(caught.value, TimeoutError)
    assert str(caught.value) == (
        "nothing came from tcp://127.0.0.1:1 within 50 ms; "
        "check that streamer runs there and that the camera's name is right"
    )


HOSTILE = {
    "one part": [b"faces/door/"],
    "no json": [b"faces/door/", b"hello"],
    "empty": [b"faces/door/", b""],
    "deep": [b"faces/door/", b"[" * 100_000],
    "pickle": [b"faces/door/", b"\x80\x04cos\nsystem\n."],
    "another camera's event": [b"faces/door/", message("yard", 1)],
}
UNKNOWN = [[b"faces/door", b"?"], [b"faces/door/more/", b"?"]]


def test_malformed_messages_are_counted_and_passed_over() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    seqs = iter(range(1, 1_000_000))

    def write() -> None:
        for parts in (*HOSTILE.values(), *UNKNOWN):
            socket.send_multipart(parts)
        socket.send_multipart([topic("door"), message("door", next(seqs))])

    publisher = Publisher(write, lambda: context.destroy(linger=0))
    with subscribe(f"tcp://127.0.0.1:{port}", timeout_s=30) as events:
        first, second = next(events), next(events)
        counted = events.malformed
        assert second.seq == first.seq + 1
        next(events)
        assert events.malformed - counted == len(HOSTILE)
    publisher.end()


def test_a_message_that_is_too_long_is_not_taken_and_those_after_it_are() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    bodies = [bytes(MAX_MESSAGE_BYTES + 1)]
    publisher = Publisher(
        lambda: socket.send_multipart([topic("door"), bodies[0]]), lambda: None
    )  # fmt: skip
    try:
        with subscribe(f"tcp://127.0.0.1:{port}", timeout_s=10) as events:
            assert monitor.poll(30_000)  # the subscriber hung up rather than take it
            bodies[0] = message("door", 7)
            assert next(events).seq == 7  # it has dialled anew
            assert events.malformed == 0
    finally:
        publisher.end()
    socket.disable_monitor()
    context.destroy(linger=0)


def test_closing_ends_the_iteration_and_twice_is_once() -> None:
    events = subscribe("tcp://127.0.0.1:1")
    events.close()
    events.close()
    assert list(events) == []


def test_closing_from_another_thread_ends_the_waiting() -> None:
    for _ in range(3):
        events = subscribe("tcp://127.0.0.1:1")
        threading.Timer(0.05, events.close).start()
        assert list(events) == []
        assert events._connection.closed


def test_closing_from_another_thread_ends_an_iteration_under_way(
    publish: Callable[..., str],
) -> None:
    events = subscribe(publish("door"), timeout_s=30)
    threading.Timer(0.3, events.close).start()
    assert all(event.camera == "door" for event in events)
    assert events._connection.closed


def test_closing_in_a_signal_handler_ends_the_waiting() -> None:
    events = subscribe("tcp://127.0.0.1:1")
    before = signal.signal(signal.SIGUSR1, lambda *_: events.close())
    try:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        assert list(events) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert events._connection.closed


def test_leaving_the_context_ends_at_once_though_nobody_is_there() -> None:
    began_at = time.monotonic()
    with subscribe("tcp://127.0.0.1:1"):
        pass
    assert time.monotonic() - began_at < 5


@pytest.mark.parametrize("endpoint", ["", "door", "http://here", "tcp://127.0.0.1", "tcp://"])
def test_an_endpoint_that_cannot_be_is_one_sentence(endpoint: str) -> None:
    with pytest.raises(CannotSubscribe, match="write tcp://HOST:PORT or ipc://"):
        subscribe(endpoint)


@pytest.mark.parametrize("cameras", ["door", [], [""], ["a/b"], ["A B"]])
def test_names_that_cannot_be_are_refused(cameras: list[str]) -> None:
    with pytest.raises(ValueError, match=r"cameras must be a list|cannot be a camera's name"):
        subscribe("tcp://127.0.0.1:1", cameras)


PROGRAM = """
import sys
from streamer.client import subscribe
try:
    with subscribe(sys.argv[1]) as events:
        print("waiting", flush=True)
        for event in events:
            print("heard", flush=True)
except KeyboardInterrupt:
    print("bye", flush=True)
"""


def test_ctrl_c_ends_the_waiting_at_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "tcp://127.0.0.1:1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("bye\n", "", 0)


def test_memory_is_bounded_while_the_program_is_busy(publish: Callable[..., str]) -> None:
    endpoint = publish("door")
    with subscribe(endpoint, timeout_s=30) as events:
        assert isinstance(events, Subscription)
        hearing = events._connection.sockets[0]
        assert hearing.getsockopt(zmq.RCVHWM) == 1000
        assert hearing.getsockopt(zmq.MAXMSGSIZE) == MAX_MESSAGE_BYTES
        next(events)
