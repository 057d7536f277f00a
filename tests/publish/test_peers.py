"""Who sends too much is let go of, and nobody else is disturbed: strangers in other processes."""

import os
import socket as sockets
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamer.publish import peers as module
from streamer.publish.history import History
from streamer.publish.peers import Allowance, Peers
from streamer.publish.replay import Replay
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Faces, Frame, NoPicture, Result, Stamps, Tracks

# Subscribes to random topics without end, over connections made anew whenever one is cut; says
# "cut" at each cut.
FLOOD = """
import os, sys, threading, zmq
from zmq.utils.monitor import recv_monitor_message
socket = zmq.Context().socket(zmq.SUB)
socket.sndhwm = 0
socket.reconnect_ivl = 10_000
monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
socket.connect(sys.argv[1])
def tell():
    while True:
        recv_monitor_message(monitor)
        print("cut", flush=True)
threading.Thread(target=tell, daemon=True).start()
while True:
    socket.subscribe(os.urandom(int(sys.argv[2])))
"""

# The greeting of ZMTP 3.0 without a mechanism, and READY of a DEALER.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"


def outcome(camera: str) -> Result:
    frame = Frame(camera, 0, 0, time.monotonic(), 0.0, None, NoPicture(64, 48))
    return Result(frame, Tracks(np.zeros(0, np.int64), Faces.none()), Stamps(0, 0, 0))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def sink() -> Iterator[ZeroMqSink]:
    sink = ZeroMqSink("tcp://127.0.0.1:*", boot_id="b", model="m")
    yield sink
    sink.close()


@pytest.fixture
def stranger() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    begun: list[subprocess.Popen[str]] = []

    def begin(program: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *words]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()
        one.communicate()


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """What a process says, as it comes."""
    found: list[str] = []
    assert process.stdout is not None
    stdout = process.stdout
    threading.Thread(target=lambda: found.extend(iter(stdout.readline, "")), daemon=True).start()
    return found


@pytest.mark.parametrize("size", ["12", "700"])
def test_subscriptions_without_end_are_cut_and_disturb_nobody(
    sink: ZeroMqSink, stranger: Callable[..., subprocess.Popen[str]], size: str
) -> None:
    context = zmq.Context()
    friend = context.socket(zmq.SUB)
    friend.connect(sink.endpoint)
    friend.subscribe(b"faces/door/")
    while not friend.poll(20):
        sink.write(outcome("door"))
    before, said = resident_bytes(), lines_of(stranger(FLOOD, sink.endpoint, size))
    give_up_at = time.monotonic() + 60
    while not said:
        sink.write(outcome("door"))
        time.sleep(0.005)
        assert time.monotonic() < give_up_at
    while not sink.refused["events", "too_much"]:
        time.sleep(0.01)
        assert time.monotonic() < give_up_at
    assert resident_bytes() - before < 100 * 2**20  # 865 MB in 5 s without the bound
    heard = sink.written
    sink.write(outcome("door"))
    bodies = []
    while not bodies or b'"seq":%d,' % (heard + 1) not in bodies[-1]:
        assert friend.poll(20_000)
        bodies.append(friend.recv_multipart()[1])
    context.destroy(linger=0)


def test_a_message_without_end_is_cut() -> None:
    replay = Replay("tcp://127.0.0.1:*", History(max_bytes=1000, max_age_s=9), boot_id="b")
    thread = threading.Thread(target=replay.serve)
    thread.start()
    before = resident_bytes()
    port = int(replay.endpoint.rpartition(":")[2])
    with sockets.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(GREETING + bytes([4, len(READY)]) + READY)
        stranger.settimeout(20)
        heard = b""
        while b"ROUTER" not in heard:
            heard += stranger.recv(1000)
        parts = (b"\x01\x08" + bytes(8)) * 1000  # a flag that more is to come, a length, a part
        with pytest.raises(ConnectionError):
            for _ in range(100_000):  # 1 GB
                stranger.sendall(parts)
    give_up_at = time.monotonic() + 20
    while replay.peers.let_go["too_much"] != 1:
        time.sleep(0.01)
        assert time.monotonic() < give_up_at
    assert resident_bytes() - before < 700 * 2**20  # 6 GB and more without
    replay.close()
    thread.join()


class Guarded:
    """A bound socket whose peers are watched, and dealers that connect to it."""

    def __init__(self, allowance: Allowance) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PULL)
        self.ours: list[zmq.Socket[bytes]] = []
        self.peers = Peers(allowance)
        self.peers.guard(self.context, self.socket)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def connect(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """A socket that sends, and its monitor."""
        one = self.context.socket(zmq.PUSH)
        one.setsockopt(zmq.RECONNECT_IVL, -1)
        monitor = one.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        one.connect(self.address)
        self.ours += one, monitor
        assert monitor.poll(20_000)
        monitor.recv_multipart()
        return one, monitor

    def wait(self, **let_go: int) -> None:
        give_up_at = time.monotonic() + 20
        while self.peers.let_go != let_go:
            time.sleep(0.01)
            assert time.monotonic() < give_up_at, self.peers.let_go

    def close(self) -> None:
        self.peers.close()
        for one in self.ours:
            one.close(linger=0)
        self.context.destroy(linger=0)


@pytest.fixture
def guarded() -> Iterator[Callable[..., Guarded]]:
    begun: list[Guarded] = []

    def begin(
        burst: int = 10_000, together: int = 10**6, peers: int = 9, unread: int = 99
    ) -> Guarded:
        begun.append(Guarded(Allowance(burst, 0, together, peers, unread)))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_who_sends_little_stays_and_who_sends_much_goes(guarded: Callable[..., Guarded]) -> None:
    here = guarded(burst=10_000)
    (modest, its), (greedy, monitor) = here.connect(), here.connect()
    modest.send(bytes(8_000))
    greedy.send(bytes(12_000))
    assert monitor.poll(20_000)
    assert not its.poll(200)
    here.wait(too_many=0, too_much=1)


def test_of_all_together_who_sent_most_goes(guarded: Callable[..., Guarded]) -> None:
    here = guarded(together=20_000)
    monitors = []
    for size in (7_000, 9_000, 8_000):
        one, monitor = here.connect()
        one.send(bytes(size))
        monitors.append(monitor)
    assert monitors[1].poll(20_000)
    assert not monitors[0].poll(200)
    assert not monitors[2].poll(0)


def test_one_connection_too_many_is_ended(guarded: Callable[..., Guarded]) -> None:
    here = guarded(peers=2)
    kept = [here.connect()[1] for _ in range(2)]
    one = here.context.socket(zmq.PUSH)
    one.setsockopt(zmq.RECONNECT_IVL, -1)
    # How it hears of the end depends on how far it had come: a connection, a handshake, more.
    ends = zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED
    monitor = one.get_monitor_socket(ends)
    here.ours += one, monitor
    one.connect(here.address)
    assert monitor.poll(20_000)
    here.wait(too_many=1, too_much=0)
    assert not any(one.poll(0) for one in kept)


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_who_is_connected_is_counted_as_they_come_and_go(kind: str, tmp_path: Path) -> None:
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*" if kind == "tcp" else f"ipc://{tmp_path}/events",
        replay="tcp://127.0.0.1:*" if kind == "tcp" else f"ipc://{tmp_path}/replay",
        boot_id="b", model="m",
    )  # fmt: skip
    assert sink.replay is not None
    thread = threading.Thread(target=sink.replay.serve)
    thread.start()
    context = zmq.Context()

    def wait(**connected: int) -> None:
        give_up_at = time.monotonic() + 20
        while sink.connected != connected:
            time.sleep(0.01)
            assert time.monotonic() < give_up_at, sink.connected

    wait(events=0, replay=0)
    ours = [context.socket(zmq.SUB) for _ in range(3)]
    for one in ours:
        one.connect(sink.endpoint)
    asking = context.socket(zmq.DEALER)
    asking.connect(sink.replay.endpoint)
    wait(events=3, replay=1)
    ours[0].close(linger=0)
    wait(events=2, replay=1)
    context.destroy(linger=0)
    wait(events=0, replay=0)
    sink.close()
    thread.join()


def test_another_connection_under_the_same_number_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libzmq closed the connection, and its descriptor is somebody else's before we heard of it."""
    with sockets.create_server(("127.0.0.1", 0)) as server:
        ours = sockets.create_connection(server.getsockname())
        stranger, _ = server.accept()
        peers = Peers(Allowance(0, 0, 0, 9, 99), clock=lambda: 0.0)
        peers.take(zmq.EVENT_ACCEPTED, stranger.fileno())
        other = sockets.create_connection(server.getsockname())
        innocent, _ = server.accept()
        os.dup2(innocent.fileno(), stranger.fileno())
        other.send(b"much")
        monkeypatch.setattr(module, "_received", lambda _: 10**9)
        peers.look_ms()
        assert peers.let_go["too_much"] == 0
        assert innocent.recv(9) == b"much"
        innocent.send(b"still here")
        assert other.recv(99) == b"still here"
        for one in (ours, stranger, other, innocent):
            one.close()


def test_so_many_and_no_more_come_before_all_was_read(guarded: Callable[..., Guarded]) -> None:
    here = guarded(unread=2)
    kept = [here.connect()[1] for _ in range(2)]
    refused = here.context.socket(zmq.PUSH)
    refused.setsockopt(zmq.RECONNECT_IVL, -1)
    here.ours.append(refused)
    refused.connect(here.address)
    here.wait(too_many=1, too_much=0)
    assert here.peers.flooded
    here.peers.drained()
    kept.append(here.connect()[1])
    here.wait(too_many=1, too_much=0)
    assert not any(one.poll(0) for one in kept)


# A publisher that says where it is, and "beat" after a heartbeat for each line it is sent.
PUBLISHER = """
import sys, threading
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Beat
sink = ZeroMqSink("tcp://127.0.0.1:*", replay="tcp://127.0.0.1:*", boot_id="b", model="m")
threading.Thread(target=sink.replay.serve, daemon=True).start()
print(sink.endpoint, sink.replay.endpoint, flush=True)
for line in sys.stdin:
    sink.write_beat(Beat(0.0, 0.0, {}))
    print("beat", flush=True)
sink.close()
"""


def test_who_goes_while_what_it_sent_still_waits_does_not_end_the_process() -> None:
    """libzmq 4.3.5 aborts where a ping is due to one who has gone and whose messages wait."""
    ping = bytes([4, 7]) + b"\x04PING\x00\x00"
    question, subscription = b"\x01\x01a\x00\x01b", b"\x00\x03\x01ab" * 40
    sub = READY.replace(b"\x06DEALER", b"\x03SUB")
    reset = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        bufsize=1, cwd=Path(__file__).resolve().parents[2],
    ) as publisher:  # fmt: skip
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        ports = [int(end.rpartition(":")[2]) for end in publisher.stdout.readline().split()]
        for number in range(60):
            for port, ready, said in zip(
                ports, (sub, READY), (subscription, question), strict=True
            ):
                with sockets.create_connection(("127.0.0.1", port), timeout=20) as one:
                    one.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, reset)
                    with suppress(OSError):  # too many came before all was read
                        one.sendall(GREETING + bytes([4, len(ready)]) + ready)
                        heard = b""
                        while len(heard) < len(GREETING) + 20:
                            heard += one.recv(1000) or b"x" * 99
                        one.sendall(said * (30 + number) + ping + said * 20)
            publisher.stdin.write("\n")
            assert publisher.stdout.readline() == "beat\n"
        publisher.stdin.close()
        assert publisher.wait(30) == 0
