"""Nothing is lost in silence: real publishers and subscribers, each in a process of its own."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.client import CameraEvent, FacesEvent, Restarted, Stale, subscribe
from streamer.client.connection import Connection
from tests.client.conftest import Publishing

HERE = Path(__file__).resolve().parent


class Subscriber:
    """The subscriber's process; a thread reads what it says."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "subscriber.py"), *words],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                with self.changed:
                    self.said.append(json.loads(line))
                    self.changed.notify_all()

    def wait(self, enough: Callable[[], bool], timeout_s: float = 30) -> None:
        with self.changed:
            assert self.changed.wait_for(enough, timeout_s), self.said[-3:]

    def reached(self, last: dict[str, int], boot_id: str = "boot") -> Callable[[], bool]:
        """Whether all topics have come to their last message."""

        def enough() -> bool:
            return all(
                any(
                    one.get("topic") == topic
                    and one.get("boot", one.get("boot_id")) == boot_id
                    and one.get("seq", one.get("last_seq")) == seq
                    for one in reversed(self.said)
                )
                for topic, seq in last.items()
            )

        return enough

    def runs(self, topic: str, boot_id: str = "boot") -> list[tuple[str, int, int]]:
        """What was said of a topic, in order: ("seq" or "gap", first, last), neighbours joined."""
        found: list[tuple[str, int, int]] = []
        for one in self.said:
            if one.get("topic") != topic or one.get("boot", one.get("boot_id")) != boot_id:
                continue
            if "notice" in one:
                found.append(("gap", one["first_seq"], one["last_seq"]))
            elif found and found[-1][0] == "seq" and found[-1][2] + 1 == one["seq"]:
                found[-1] = ("seq", found[-1][1], one["seq"])
            else:
                found.append(("seq", one["seq"], one["seq"]))
        return found

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def subscriber() -> Iterator[Callable[..., Subscriber]]:
    begun: list[Subscriber] = []

    def begin(*words: str) -> Subscriber:
        begun.append(Subscriber(*words))
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


def stop_and_go(
    publisher: Publishing, stopped: Subscriber, count: int, pause_s: float
) -> dict[str, int]:
    """Stop a subscriber while ``count`` messages of each camera are published, and go on."""
    stopped.process.send_signal(signal.SIGSTOP)
    publisher.begin(count, pause_s)
    last = publisher.done()
    stopped.process.send_signal(signal.SIGCONT)
    return last


def test_a_stopped_subscriber_gets_every_event_once_and_in_order(
    publishing: Callable[..., Publishing], subscriber: Callable[..., Subscriber]
) -> None:
    publisher = publishing("door", "yard")
    stopped, other = (subscriber(publisher.events, publisher.replay) for _ in range(2))
    for one in (stopped, other):
        one.wait(one.reached({"camera/door/": 1, "camera/yard/": 1}))
    # Longer than the pings allow, so that the connection itself is lost; more than pipes hold.
    last = stop_and_go(publisher, stopped, 4000, 0.002)
    for one in (stopped, other):
        one.wait(one.reached(last))
        for camera in ("door", "yard"):
            assert one.runs(f"faces/{camera}/") == [("seq", 1, 4000)]
        assert not [said for said in one.said if "notice" in said]


def test_what_the_history_let_go_of_is_an_exact_gap(
    publishing: Callable[..., Publishing], subscriber: Callable[..., Subscriber]
) -> None:
    publisher = publishing("door", keeps=400_000)  # some 300 of its messages
    stopped = subscriber(publisher.events, publisher.replay)
    stopped.wait(stopped.reached({"camera/door/": 1}))
    # More than the kernel's buffers and both high-water marks hold, which on loopback is megabytes.
    last = stop_and_go(publisher, stopped, 15_000, 0.0)
    stopped.wait(stopped.reached(last))
    runs = stopped.runs("faces/door/")
    assert [kind for kind, _, _ in runs] == ["seq", "gap", "seq"]
    assert runs[0][1] == 1
    assert runs[1][1] == runs[0][2] + 1
    assert runs[2][1:] == (runs[1][2] + 1, 15_000)


def test_without_replay_the_gap_is_told_by_the_next_message_or_heartbeat(
    publishing: Callable[..., Publishing], subscriber: Callable[..., Subscriber]
) -> None:
    publisher = publishing("door")
    stopped = subscriber(publisher.events, "-")
    while not stopped.said:  # nobody says who has subscribed
        publisher.publish(1, 0.02)
    last = stop_and_go(publisher, stopped, 8_000, 0.0)
    stopped.wait(
        stopped.reached({"faces/door/": last["faces/door/"]})
    )  # nothing more is published: a heartbeat tells
    runs = stopped.runs("faces/door/")
    assert "gap" in [kind for kind, _, _ in runs]
    for before, after in pairwise(runs):
        assert after[1] == before[2] + 1
    assert runs[-1][2] == last["faces/door/"]


def test_a_restart_is_told_without_a_false_gap(
    publishing: Callable[..., Publishing], subscriber: Callable[..., Subscriber]
) -> None:
    publisher = publishing("door", boot_id="one")
    heard = subscriber(publisher.events, publisher.replay)
    heard.wait(heard.reached({"camera/door/": 1}, "one"))
    last = publisher.publish(50)
    heard.wait(heard.reached(last, "one"))
    publisher.end()
    again = publishing("door", boot_id="two", events=publisher.events, replay=publisher.replay)
    last = again.publish(70)
    heard.wait(heard.reached(last, "two"))
    assert heard.runs("faces/door/", "one") == [("seq", 1, 50)]
    assert heard.runs("faces/door/", "two") == [("seq", 1, 70)]  # from its first, by replay
    notices = [one for one in heard.said if one.get("notice") not in (None, "stale")]
    assert notices == [{"notice": "restarted", "old_boot_id": "one", "new_boot_id": "two"}]


def test_who_comes_late_has_the_state_at_once(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door", "yard")
    publisher.publish(10)
    began_at = time.monotonic()
    with subscribe(
        publisher.events, ["door"], replay=publisher.replay, changes=True, timeout_s=30
    ) as events:
        first, second = next(events), next(events)
    assert time.monotonic() - began_at < 20  # some 10 ms on an idle machine
    assert isinstance(first, CameraEvent)
    assert (first.camera, first.state) == ("door", "live")
    assert isinstance(second, FacesEvent)
    assert (second.camera, second.seq) == ("door", 10)


def test_the_state_of_many_cameras_comes_in_pieces(publishing: Callable[..., Publishing]) -> None:
    cameras = [f"c{number}" for number in range(150)]
    publisher = publishing(*cameras)
    with subscribe(
        publisher.events, cameras, replay=publisher.replay, changes=True, timeout_s=30
    ) as events:
        assert {next(events).camera for _ in cameras} == set(cameras)  # type: ignore[union-attr]


def test_silence_is_told_and_then_the_restart(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door", boot_id="one")
    with subscribe(publisher.events, replay=publisher.replay, changes=True, timeout_s=60) as events:
        assert isinstance(next(events), CameraEvent)
        publisher.end()
        stale = next(events)
        assert isinstance(stale, Stale)
        assert (stale.boot_id, stale.silent_s >= 3.0) == ("one", True)
        publishing("door", boot_id="two", events=publisher.events, replay=publisher.replay)
        assert next(events) == Restarted("one", "two")
        assert isinstance(next(events), CameraEvent)  # asked for, since a heartbeat knew of it


def test_a_replay_that_is_not_there_costs_a_gap_and_no_more(
    publishing: Callable[..., Publishing], subscriber: Callable[..., Subscriber]
) -> None:
    publisher = publishing("door")
    stopped = subscriber(publisher.events, "tcp://127.0.0.1:1")
    while not stopped.said:
        publisher.publish(1, 0.02)
    last = stop_and_go(publisher, stopped, 8_000, 0.0)
    stopped.wait(stopped.reached({"faces/door/": last["faces/door/"]}))
    runs = stopped.runs("faces/door/")
    assert "gap" in [kind for kind, _, _ in runs]
    assert all(after[1] == before[2] + 1 for before, after in pairwise(runs))


def test_closing_twice_is_once_and_nothing_stays_open() -> None:
    connection = Connection(
        "tcp://127.0.0.1:1", [b"faces/"], replay="tcp://127.0.0.1:2", heartbeats=True
    )
    assert connection.pump() is not None
    connection.close()
    connection.close()
    assert connection.closed
    assert all(one.closed for one in connection.sockets)


# A subscriber that takes nothing for as long as two of ZeroMQ's own pings would have come.
BUSY = """
import sys, time
from streamer.client import subscribe
with subscribe(sys.argv[1]):
    time.sleep(6)
print("alive")
"""


def test_a_busy_program_outlives_its_publisher() -> None:
    """libzmq 4.3.5 aborts where a ping is due to one who has gone and whose messages wait."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.setsockopt(zmq.XPUB_NODROP, 1)
        publisher.setsockopt(zmq.SNDHWM, 10)
        publisher.setsockopt(zmq.SNDTIMEO, 500)
        publisher.setsockopt(zmq.LINGER, 0)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        with subprocess.Popen(
            [sys.executable, "-c", BUSY, f"tcp://127.0.0.1:{port}"], stdout=subprocess.PIPE,
            text=True,
        ) as busy:  # fmt: skip
            assert publisher.poll(30_000)  # it has subscribed
            with pytest.raises(zmq.Again):  # until it takes no more
                while busy.poll() is None:
                    publisher.send_multipart((b"faces/door/", bytes(1500)))
            publisher.close()
            assert busy.communicate(timeout=60) == ("alive\n", None)
        assert busy.returncode == 0
