"""Who may connect: real sockets with the right key, the wrong one and none."""

from __future__ import annotations

import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from streamer.keys import BadKey, new_keys, read_pair, read_public
from streamer.publish.gate import Allowed, Curve, Gate
from streamer.publish.peers import Allowance, Peers
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import CameraChange


def change() -> CameraChange:
    return CameraChange("door", "live", time.monotonic(), 0.0)


@pytest.fixture
def curve(tmp_path: Path) -> Curve:
    """Keys of a server and of one client, "friend"; "stranger" has keys that nobody knows."""
    new_keys("server", tmp_path / "server")
    new_keys("friend", tmp_path / "clients")
    new_keys("stranger", tmp_path / "strangers")
    return Curve(tmp_path / "server" / "server.key_secret", tmp_path / "clients")


@pytest.fixture
def sink(curve: Curve) -> Iterator[ZeroMqSink]:
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*", replay="tcp://127.0.0.1:*", boot_id="b", model="m", curve=curve
    )
    thread = threading.Thread(target=sink.stages()[0].run)
    thread.start()
    yield sink
    sink.close()
    thread.join()


class Peer:
    """A socket of the plain library, with whatever keys."""

    def __init__(self, kind: int, endpoint: str, server: bytes | None, own: Path | None) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        if server is not None and own is not None:
            pair = read_pair(own)
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        if kind == zmq.SUB:
            self.socket.subscribe(b"")
        self.socket.connect(endpoint)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def begin(*arguments: object) -> Peer:
        peers.append(Peer(*arguments))  # type: ignore[arg-type]
        return peers[-1]

    yield begin
    for one in peers:
        one.close()


def wait(enough: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    give_up_at = time.monotonic() + 30
    while not enough():
        meanwhile()
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_the_right_key_hears_and_asks(
    sink: ZeroMqSink, curve: Curve, peer: Callable[..., Peer]
) -> None:
    server = read_public(curve.server_key)
    own = curve.clients / "friend.key_secret"
    hearing = peer(zmq.SUB, sink.endpoint, server, own)
    wait(lambda: bool(hearing.socket.poll(0)), lambda: sink.write_change(change()))
    assert sink.replay is not None
    asking = peer(zmq.DEALER, sink.replay.endpoint, server, own)
    asking.socket.send_multipart([b"streamer.replay/1", b"1", b"newest", b"", b"camera/"])
    assert asking.socket.poll(30_000)
    assert asking.socket.recv_multipart()[5] == b"camera/door/"
    assert not any(sink.refused.values())


@pytest.mark.parametrize(
    ("server", "own", "reason"),
    [
        ("server/server.key", "strangers/stranger.key_secret", "not_allowed"),
        ("strangers/stranger.key", "clients/friend.key_secret", "wrong_server_key"),
        (None, None, "no_key"),
    ],
)
def test_whoever_is_not_allowed_is_refused_and_counted_and_the_others_hear_on(
    sink: ZeroMqSink, curve: Curve, peer: Callable[..., Peer], tmp_path: Path,
    server: str | None, own: str | None, reason: str,
) -> None:  # fmt: skip
    friend = peer(
        zmq.SUB, sink.endpoint, read_public(curve.server_key), curve.clients / "friend.key_secret"
    )
    wait(lambda: bool(friend.socket.poll(0)), lambda: sink.write_change(change()))
    assert sink.replay is not None
    keys = (server and read_public(tmp_path / server), own and tmp_path / own)
    hearing = peer(zmq.SUB, sink.endpoint, *keys)
    asking = peer(zmq.DEALER, sink.replay.endpoint, *keys)
    asking.socket.send_multipart([b"streamer.replay/1", b"1", b"newest", b"", b"camera/"])
    # Where neither speaks CURVE, whoever hangs up first decides what the other end sees.
    reasons = (reason, "broken") if reason == "no_key" else (reason,)
    for socket in ("events", "replay"):
        wait(lambda socket=socket: any(sink.refused[socket, one] for one in reasons))  # type: ignore[misc]
    before = sink.written
    sink.write_change(change())
    while friend.socket.poll(30_000):  # it hears the newest event
        if f'"seq":{before + 1},'.encode() in friend.socket.recv_multipart()[1]:
            break
    else:
        pytest.fail("the friend hears no more")
    assert not hearing.socket.poll(0)
    assert not asking.socket.poll(0)
    assert sink.replay.answered == 0


def test_without_an_answer_nobody_gets_in(
    curve: Curve, peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Gate, request: list[bytes]) -> list[bytes]:
        raise RuntimeError("broken")

    monkeypatch.setattr(Gate, "_answer", fail)
    sink = ZeroMqSink("tcp://127.0.0.1:*", boot_id="b", model="m", curve=curve)
    own = curve.clients / "friend.key_secret"
    hearing = peer(zmq.SUB, sink.endpoint, read_public(curve.server_key), own)
    wait(lambda: not any(one.name == "publish:gate" for one in threading.enumerate()))
    for _ in range(20):
        sink.write_change(change())
    assert not hearing.socket.poll(200)
    sink.close()


def test_the_gate_without_its_socket_lets_nobody_in(
    peer: Callable[..., Peer], curve: Curve
) -> None:
    context = zmq.Context()
    gate = Gate(curve)
    publisher = context.socket(zmq.PUB)
    gate.guard(context, publisher, Peers(Allowance(1, 1, 1, 1, 1)))
    gate.close()  # nobody answers libzmq's questions any more
    publisher.bind("tcp://127.0.0.1:*")
    own = curve.clients / "friend.key_secret"
    endpoint = publisher.getsockopt_string(zmq.LAST_ENDPOINT)
    hearing = peer(zmq.SUB, endpoint, read_public(curve.server_key), own)
    host, port = endpoint.removeprefix("tcp://").split(":")
    with sockets.create_connection((host, int(port)), timeout=30) as stranger:
        stranger.sendall(b"\xff" + bytes(8) + b"\x7f")
        assert stranger.recv(1)  # libzmq waits for nobody to be told of who came
    for _ in range(20):
        publisher.send(b"x")
        assert not hearing.socket.poll(10)
    context.destroy(linger=0)


def test_the_list_may_change_while_streamer_runs(
    curve: Curve, peer: Callable[..., Peer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10, 1000)).__next__
    allowed = Allowed(curve.clients, recheck_s=1.0, clock=lambda: float(clock()))
    friend = read_public(curve.clients / "friend.key")
    stranger = read_public(tmp_path / "strangers" / "stranger.key")
    assert friend in allowed
    assert stranger not in allowed
    (curve.clients / "late.key").write_bytes((tmp_path / "strangers/stranger.key").read_bytes())
    assert stranger in allowed
    (curve.clients / "friend.key").unlink()
    assert friend not in allowed
    (curve.clients / "broken.key").write_text("nonsense")
    assert stranger not in allowed  # a list that cannot be read lets nobody in
    (curve.clients / "broken.key").unlink()
    assert stranger in allowed


def test_the_list_is_not_read_at_every_knock(curve: Curve, tmp_path: Path) -> None:
    allowed = Allowed(curve.clients, recheck_s=1.0, clock=lambda: 5.0)
    (curve.clients / "friend.key").unlink()
    assert read_public(tmp_path / "clients" / "friend.key_secret") in allowed


def test_keys_that_cannot_be_read_are_told_and_nothing_stays_bound(
    curve: Curve, free_port: int
) -> None:
    bind, lost = f"tcp://127.0.0.1:{free_port}", Curve(curve.server_key, curve.clients / "none")
    with pytest.raises(BadKey, match="cannot be read"):
        ZeroMqSink(bind, replay="tcp://127.0.0.1:*", boot_id="b", model="m", curve=lost)
    ZeroMqSink(bind, boot_id="b", model="m", curve=curve).close()
