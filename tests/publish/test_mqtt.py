"""The MQTT bridge against Debian's mosquitto: state, restarts, passwords, TLS, a stuck broker."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho

from streamer.events import decode
from streamer.publish import mqtt as module
from streamer.publish.link import pause_s
from streamer.publish.mqtt import MqttSink
from streamer.track_events import decode_track
from tests.brokers import Broker, mosquitto, program
from tests.publish.news import beat, change, result, track

pytestmark = pytest.mark.mqtt


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause_s", lambda failures: pause_s(failures, longest_s=0.2))


@pytest.fixture
def broker(tmp_path: Path, free_port: int) -> Iterator[Broker]:
    broker = mosquitto(tmp_path, free_port)
    broker.start()
    yield broker
    broker.kill()


class Listener:
    """Somebody else at the broker; ``topics`` has the last payload of each, ``heard`` all."""

    def __init__(self, port: int) -> None:
        self.topics: dict[str, str] = {}
        self.heard: list[tuple[str, str, bool]] = []
        self.changed = threading.Condition()
        self.subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.hear
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.subscribed.wait(30)

    def hear(self, _client: object, _data: object, message: Any) -> None:
        with self.changed:
            self.topics[message.topic] = message.payload.decode()
            self.heard.append((message.topic, message.payload.decode(), message.retain))
            self.changed.notify_all()

    def wait(self, **topics: str) -> None:
        wanted = {f"streamer/{name.replace('_', '/')}": value for name, value in topics.items()}
        with self.changed:
            assert self.changed.wait_for(lambda: wanted.items() <= self.topics.items(), 30), (
                self.topics
            )

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen() -> Iterator[Callable[[int], Listener]]:
    listeners: list[Listener] = []

    def begin(port: int) -> Listener:
        listeners.append(Listener(port))
        return listeners[-1]

    yield begin
    for listener in listeners:
        listener.close()


@pytest.fixture
def begin() -> Iterator[Callable[..., MqttSink]]:
    sinks: list[MqttSink] = []

    def made(port: int, **options: Any) -> MqttSink:
        defaults: dict[str, Any] = {"boot_id": "b" * 32, "model": "m", "version": "9"}
        sinks.append(MqttSink("127.0.0.1", port, **{**defaults, "max_per_s": 1000.0, **options}))
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


def wait(enough: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
    give_up_at = time.monotonic() + 30
    while not enough():
        meanwhile()
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_state_is_retained_and_results_are_not(
    broker: Broker, listen: Callable[[int], Listener], begin: Callable[..., MqttSink]
) -> None:
    sink, early = begin(broker.port), listen(broker.port)
    wait(lambda: sink.link.connected)
    sink.write_change(change("door"))
    sink.write(result("door", [1, 2]))
    sink.write_track(track("door"))
    early.wait(status="online", door_state="live", door_count="2", door_presence="ON",
               door_availability="online")  # fmt: skip
    wait(lambda: "streamer/door/tracks" in early.topics)
    event = decode(early.topics["streamer/door/faces"].encode())
    assert (event.camera, event.seq, len(event.faces or ())) == ("door", 1, 2)
    assert decode_track(early.topics["streamer/door/tracks"].encode()).kind == "appeared"
    assert json.loads(early.topics["streamer/door/camera"])["state"] == "live"
    late = listen(broker.port)
    late.wait(status="online", door_state="live", door_count="2", door_presence="ON")
    assert not {"streamer/door/faces", "streamer/door/tracks"} & late.topics.keys()
    wait(lambda: sum(name.startswith("homeassistant/") for name in list(late.topics)) == 3)
    sink.write_beat(beat())  # the camera was removed
    wait(lambda: not late.topics["streamer/door/state"])
    assert not listen(broker.port).topics.keys() & {"streamer/door/state", "streamer/door/count"}
    sink.close()
    late.wait(status="offline")
    status = sink.link
    assert status.lost == {}
    assert status.delivered > 10


def test_a_broker_that_dies_and_comes_back_knows_what_is_true_now(
    broker: Broker, listen: Callable[[int], Listener], begin: Callable[..., MqttSink]
) -> None:
    sink = begin(broker.port)
    wait(lambda: sink.link.connected)
    sink.write_change(change("door"))
    sink.write(result("door", [1]))
    broker.kill()
    wait(lambda: not sink.link.connected)
    sink.write(result("door", [1, 2, 3]))
    sink.write_change(change("yard", "backing_off"))
    assert sink.link.lost["not_connected"] == 1  # the result; state is not lost
    broker.start()
    wait(lambda: sink.link.connected)
    listener = listen(broker.port)
    listener.wait(status="online", door_count="3", yard_state="backing_off")
    assert sink.link.connects == 2
    sink.write(result("door", [1]))
    wait(lambda: "streamer/door/faces" in listener.topics)
    assert decode(listener.topics["streamer/door/faces"].encode()).seq == 3  # 2 is what was lost


def test_a_broker_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, free_port: int, listen: Callable[[int], Listener],
    begin: Callable[..., MqttSink],
) -> None:  # fmt: skip
    sink = begin(free_port)
    sink.write_change(change("door"))
    wait(lambda: "cannot be reached" in sink.link.trouble)
    broker = mosquitto(tmp_path, free_port)
    broker.start()
    try:
        listen(free_port).wait(status="online", door_state="live")
    finally:
        broker.kill()


PROGRAM = """
import sys, time
from streamer.publish.mqtt import MqttSink
from streamer.track_events import decode_track
from tests.publish.news import change
sink = MqttSink("127.0.0.1", int(sys.argv[1]), boot_id="b", model="m", version="9")
sink.write_change(change("door"))
sys.stdin.read()
"""


def test_a_streamer_that_is_killed_is_offline(
    broker: Broker, listen: Callable[[int], Listener]
) -> None:
    listener = listen(broker.port)
    killed = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(broker.port)], stdin=subprocess.PIPE
    )
    listener.wait(status="online", door_state="live")
    killed.kill()
    killed.wait()
    assert killed.stdin is not None
    killed.stdin.close()
    listener.wait(status="offline")


def test_a_stuck_broker_holds_nobody_up_and_memory_is_bounded(
    broker: Broker, begin: Callable[..., MqttSink]
) -> None:
    sink = begin(broker.port, when="all", max_per_s=1e9)
    wait(lambda: sink.link.connected)
    sink.write_change(change("door"))
    broker.signal(signal.SIGSTOP)
    slowest_s, crowd = 0.0, result("door", range(20))
    for _ in range(2000):
        began_at = time.monotonic()
        sink.write(crowd)
        slowest_s = max(slowest_s, time.monotonic() - began_at)
    assert slowest_s < 15.0  # one that waits for the broker would take twice that
    assert sink.link.waiting <= module.MOST_WAITING
    assert sink.link.lost["queue_full"] >= 2000 - module.MOST_WAITING
    began_at = time.monotonic()
    sink.close()
    assert time.monotonic() - began_at < 20.0
    assert sink.link.lost["unconfirmed"] > 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and what it signed for 127.0.0.1: ca.pem, cert.pem and key.pem."""
    folder = tmp_path_factory.mktemp("certificates")
    san = "subjectAltName=IP:127.0.0.1"
    for command in (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem "
        "-out ca.pem -days 2 -subj /CN=authority",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out req.pem "
        f"-subj /CN=broker -addext {san}",
        "x509 -req -in req.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem -days 2 "
        "-copy_extensions copy",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_password_and_tls_let_in_and_neither_is_told(
    tmp_path: Path, free_port: int, certificates: Path, begin: Callable[..., MqttSink],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = program("mosquitto_passwd")
    assert made is not None
    subprocess.run(
        [made, "-b", "-c", "passwords", "cam", "canary-5ecret"], cwd=tmp_path, check=True
    )
    broker = mosquitto(
        tmp_path, free_port, "allow_anonymous false", f"password_file {tmp_path}/passwords",
        f"cafile {certificates}/ca.pem", f"certfile {certificates}/cert.pem",
        f"keyfile {certificates}/key.pem",
    )  # fmt: skip
    broker.start()
    try:
        trusted = ssl.create_default_context(cafile=certificates / "ca.pem")
        login = {"username": "cam", "password": "canary-5ecret"}
        good = begin(free_port, tls=trusted, **login)
        wait(lambda: good.link.connected)
        strange = begin(free_port, tls=ssl.create_default_context(), client_id="s", **login)
        wait(lambda: "certificate is not good" in strange.link.trouble)
        wrong = begin(
            free_port, tls=trusted, client_id="w", username="cam", password="canary-wrong"
        )
        wait(lambda: "does not let us in" in wrong.link.trouble)
        plain = begin(free_port, client_id="p", **login)
        wait(lambda: plain.link.trouble)
        said = capsys.readouterr()
        told = said.out + said.err + repr([s.link for s in (good, strange, wrong, plain)])
        assert "canary" not in told
    finally:
        broker.kill()


def test_what_nobody_expected_does_not_end_the_bridge(
    broker: Broker, begin: Callable[..., MqttSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = MqttSink._converse, [1]

    def converse(self: MqttSink, client: Any) -> str | None:
        if left:
            raise RuntimeError(f"number {left.pop()}")
        return real(self, client)

    monkeypatch.setattr(MqttSink, "_converse", converse)
    sink = begin(broker.port)
    wait(lambda: sink.link.connected)
    assert not left


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(Exception, match=r"pip install 'streamer\[mqtt\]'"):
        MqttSink("127.0.0.1", 1, boot_id="b", model="m", version="9")
