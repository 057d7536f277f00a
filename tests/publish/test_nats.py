"""The JetStream bridge against a real nats-server: killed, without a stream, slow and strange."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from streamer.events import decode
from streamer.publish import nats as module
from streamer.publish.link import pause_s
from streamer.publish.nats import NatsSink
from tests.brokers import Broker, nats_server
from tests.publish.news import change, result, track

pytestmark = pytest.mark.nats

BOOT = "b" * 32


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause_s", lambda failures: pause_s(failures, longest_s=0.2))


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[Broker]:
    server = nats_server(tmp_path, free_port)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def begin() -> Iterator[Callable[..., NatsSink]]:
    sinks: list[NatsSink] = []

    def made(port: int, **options: Any) -> NatsSink:
        defaults: dict[str, Any] = {"boot_id": BOOT, "model": "m", "when": "all"}
        sinks.append(
            NatsSink([f"nats://127.0.0.1:{port}"], **{**defaults, "max_per_s": 1e9, **options})
        )
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


def wait(enough: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
    give_up_at = time.monotonic() + 60
    while not enough():
        meanwhile()
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def stored(port: int, stream: str = "STREAMER", **login: Any) -> list[tuple[str, str, bytes]]:
    """Subject, id and body of everything in the stream, in order, read by the plain library."""

    async def read() -> list[tuple[str, str, bytes]]:
        client = await nats.connect(f"nats://127.0.0.1:{port}", **login)
        js = client.jetstream()
        count = (await js.stream_info(stream)).state.messages
        ordered = await js.subscribe(">", stream=stream, ordered_consumer=True)
        found = []
        for _ in range(count):
            message = await ordered.next_msg(timeout=20)
            found.append((message.subject, message.headers["Nats-Msg-Id"], message.data))
        await client.close()
        return found

    return asyncio.run(read())


def test_all_kinds_are_stored_and_may_be_read_later(
    server: Broker, begin: Callable[..., NatsSink]
) -> None:
    sink = begin(server.port)
    sink.write_change(change("door"))
    sink.write(result("door", [1]))
    sink.write(result("door", [1, 2]))
    sink.write_track(track("door"))
    wait(lambda: sink.link.delivered == 4)
    found = stored(server.port)
    assert sorted((subject, number) for subject, number, _ in found) == [
        ("streamer.door.camera", f"{BOOT}:camera/door/:1"),
        ("streamer.door.faces", f"{BOOT}:faces/door/:1"),
        ("streamer.door.faces", f"{BOOT}:faces/door/:2"),
        ("streamer.door.track", f"{BOOT}:track/door/:1"),
    ]
    faces = [decode(body) for subject, _, body in found if subject.endswith(".faces")]
    assert [(event.seq, len(event.faces or ())) for event in faces] == [(1, 1), (2, 2)]
    status = sink.link
    assert (status.connected, status.waiting, status.retries, status.lost) == (True, 0, 0, {})


def test_a_server_killed_again_and_again_loses_nothing_confirmed_and_holds_nothing_twice(
    server: Broker, begin: Callable[..., NatsSink]
) -> None:
    sink = begin(server.port)
    cameras, count = ("door", "yard", "hall"), 0

    def write() -> None:
        nonlocal count
        count += 1
        for camera in cameras:
            sink.write(result(camera, [1], count))

    for _ in range(3):
        confirmed = sink.link.delivered
        wait(lambda confirmed=confirmed: sink.link.delivered > confirmed + 30, write)  # type: ignore[misc]
        server.kill()  # in the middle of what is being sent
        wait(lambda: not sink.link.connected)
        before = sink.link.delivered
        for _ in range(20):
            write()
        assert sink.link.delivered == before
        server.start()
    wait(lambda: sink.link.delivered == 3 * count)
    numbers = [number for _, number, _ in stored(server.port)]
    assert len(numbers) == len(set(numbers))
    for camera in cameras:  # everything, once, in order
        mine = [n for n in numbers if f":faces/{camera}/:" in n]
        assert mine == [f"{BOOT}:faces/{camera}/:{seq}" for seq in range(1, count + 1)]
    status = sink.link
    assert status.lost == {}
    assert status.connects >= 4
    assert status.waiting == 0


def test_a_message_in_doubt_for_long_is_looked_for_and_not_stored_twice(
    server: Broker, begin: Callable[..., NatsSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server forgets ids (here at once), and its answer is lost once."""
    lost = {"answers": 1}

    async def make() -> None:
        client = await nats.connect(f"nats://127.0.0.1:{server.port}")
        await client.jetstream().add_stream(
            name="STREAMER", subjects=["streamer.>"], duplicate_window=0.1
        )
        await client.close()

    asyncio.run(make())
    monkeypatch.setattr(module, "_LOOK_S", 0.15)
    real = nats.js.JetStreamContext.publish

    async def publish(self: Any, *arguments: Any, **options: Any) -> Any:
        confirmed = await real(self, *arguments, **options)
        if lost["answers"]:
            lost["answers"] -= 1
            await asyncio.sleep(0.4)  # until its id is forgotten
            raise TimeoutError("nats: timeout")
        return confirmed

    monkeypatch.setattr(nats.js.JetStreamContext, "publish", publish)
    sink = begin(server.port)
    for index in range(3):
        sink.write(result("door", [1], index))
    wait(lambda: sink.link.delivered == 3)
    assert [number[-1] for _, number, _ in stored(server.port)] == ["1", "2", "3"]
    assert sink.link.retries == 1


def test_a_stuck_server_holds_nobody_up_and_what_is_too_much_is_counted(
    server: Broker, begin: Callable[..., NatsSink]
) -> None:
    sink = begin(server.port, keep=100)
    wait(lambda: sink.link.connected)
    server.signal(signal.SIGSTOP)
    slowest_s = 0.0
    for index in range(1000):
        began_at = time.monotonic()
        sink.write(result("door", [1], index))
        slowest_s = max(slowest_s, time.monotonic() - began_at)
    assert slowest_s < 15.0  # one that waits for the server would wait for ever
    status = sink.link
    assert status.waiting == 100
    assert status.lost["queue_full"] == 900 - status.delivered
    server.signal(signal.SIGCONT)
    wait(lambda: sink.link.waiting == 0)
    seqs = [int(number.rpartition(":")[2]) for _, number, _ in stored(server.port)]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == 1000
    assert len(seqs) + sink.link.lost["queue_full"] == 1000


def test_no_server_no_jetstream_and_no_stream_are_told_apart(
    tmp_path: Path, free_port: int, begin: Callable[..., NatsSink]
) -> None:
    sink = begin(free_port, create=False)
    sink.write_change(change("door"))
    wait(lambda: "cannot be reached" in sink.link.trouble)
    server = nats_server(tmp_path, free_port)
    with_js = list(server.command)
    server.command = with_js[:5]
    server.start()
    try:
        wait(lambda: "no JetStream" in sink.link.trouble)
        server.kill()
        server.command = with_js
        server.start()
        wait(lambda: "no stream STREAMER; make it" in sink.link.trouble)
        other = begin(free_port)  # which may make it
        other.write_change(change("yard"))
        wait(lambda: sink.link.delivered == 1 and other.link.delivered == 1)
    finally:
        server.kill()


def test_a_login_lets_in_and_is_not_told(
    tmp_path: Path, free_port: int, begin: Callable[..., NatsSink],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server = nats_server(tmp_path, free_port, "--user", "cam", "--pass", "canary-5ecret")
    server.start()
    try:
        good = begin(free_port, username="cam", password="canary-5ecret")
        good.write_change(change("door"))
        wait(lambda: good.link.delivered == 1)
        wrong = begin(free_port, username="cam", password="canary-wrong")
        wait(lambda: "uthorization" in wrong.link.trouble)
        said = capsys.readouterr()
        assert "canary" not in said.out + said.err + repr((good.link, wrong.link))
        login = {"user": "cam", "password": "canary-5ecret"}
        assert len(stored(free_port, **login)) == 1
    finally:
        server.kill()


def test_what_is_held_is_sent_at_the_end(server: Broker, begin: Callable[..., NatsSink]) -> None:
    sink = begin(server.port)
    for index in range(50):
        sink.write(result("door", [1], index))
    sink.close()
    assert len(stored(server.port)) == 50
    assert sink.link.lost == {}


def test_the_end_is_bounded_and_what_is_left_is_counted(
    free_port: int, begin: Callable[..., NatsSink]
) -> None:
    sink = begin(free_port)
    sink.write_change(change("door"))
    began_at = time.monotonic()
    sink.close()
    assert time.monotonic() - began_at < 20
    assert sink.link.lost == {"ended": 1}


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(Exception, match=r"pip install 'streamer\[nats\]'"):
        NatsSink(["nats://127.0.0.1:1"], boot_id="b", model="m")
