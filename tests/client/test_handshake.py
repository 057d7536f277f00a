"""A client that is not let in says why, in each of its three forms, and goes on trying."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streamer.client import (
    FacesEvent,
    NotAdmitted,
    NothingHeard,
    latest,
    subscribe,
    subscribe_async,
)
from streamer.client import handshake as module
from streamer.keys import BadKey, new_keys
from streamer.publish.gate import Curve
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Faces, Frame, NoPicture, Result, Stamps, Tracks


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys "server" and "friend" (in the folder clients) and "stranger"."""
    new_keys("server", tmp_path)
    new_keys("friend", tmp_path / "clients")
    new_keys("stranger", tmp_path)
    return tmp_path


@pytest.fixture
def publish(keys: Path) -> Iterator[Callable[..., ZeroMqSink]]:
    threads: list[tuple[threading.Event, threading.Thread]] = []

    def begin(*, keyed: bool = True) -> ZeroMqSink:
        curve = Curve(keys / "server.key_secret", keys / "clients") if keyed else None
        sink = ZeroMqSink(
            "tcp://127.0.0.1:*", replay="tcp://127.0.0.1:*", boot_id="b", model="m", curve=curve
        )
        stop = threading.Event()

        def run() -> None:
            serving = threading.Thread(target=sink.stages()[0].run)
            serving.start()
            index = 0
            while not stop.wait(0.01):
                index += 1
                frame = Frame("door", 0, index, 0.0, 0.0, None, NoPicture(64, 48))
                none = Tracks(np.zeros(0, np.int64), Faces.none())
                sink.write(Result(frame, none, Stamps(0, 0, 0)))
            sink.close()
            serving.join()

        thread = threading.Thread(target=run)
        thread.start()
        threads.append((stop, thread))
        return sink

    yield begin
    for stop, thread in threads:
        stop.set()
        thread.join()


def test_the_right_keys_hear_and_are_replayed(
    publish: Callable[..., ZeroMqSink], keys: Path
) -> None:
    sink = publish()
    assert sink.replay is not None
    with subscribe(
        sink.endpoint, replay=sink.replay.endpoint, timeout_s=30,
        server_key=keys / "server.key", key=keys / "clients" / "friend.key_secret",
    ) as events:  # fmt: skip
        seqs: list[int] = []
        while len(seqs) < 5 or not sink.replay.answered:
            event = next(events)
            assert isinstance(event, FacesEvent)
            seqs.append(event.seq)
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


WRONG = [
    ("server.key", "stranger.key_secret", "does not let this key in; add"),
    ("stranger.key", "clients/friend.key_secret", "its key is not the server_key given here"),
    (None, None, "lets in only who has a key"),
]


@pytest.mark.parametrize(("server", "own", "why"), WRONG)
def test_a_client_that_is_not_let_in_says_why(
    publish: Callable[..., ZeroMqSink], keys: Path, server: str | None, own: str | None, why: str
) -> None:
    sink = publish()
    given = {"server_key": server and keys / server, "key": own and keys / own}
    with (
        subscribe(sink.endpoint, timeout_s=30, **given) as events,  # type: ignore[call-overload]
        pytest.raises(NotAdmitted, match=why) as caught,
    ):
        next(events)
    assert "\n" not in str(caught.value)


def test_keys_for_a_publisher_without_any(publish: Callable[..., ZeroMqSink], keys: Path) -> None:
    sink = publish(keyed=False)
    with (
        subscribe(
            sink.endpoint, timeout_s=30, server_key=keys / "server.key",
            key=keys / "clients" / "friend.key_secret",
        ) as events,
        pytest.raises(NotAdmitted, match=r"its key is not the server_key .*, it has no keys"),
    ):  # fmt: skip
        next(events)


@pytest.mark.parametrize("keyed", [True, False])
def test_it_is_said_once_though_both_sockets_are_kept_out(
    publish: Callable[..., ZeroMqSink],
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    keyed: bool,
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.2)
    sink = publish(keyed=keyed)
    assert sink.replay is not None
    with subscribe(
        sink.endpoint, replay=sink.replay.endpoint, timeout_s=2.5, notices=False,
        server_key=keys / "server.key", key=keys / "stranger.key_secret",
    ) as events:  # fmt: skip
        with pytest.raises(NotAdmitted):
            next(events)
        with pytest.raises(NothingHeard):
            next(events)


def test_who_is_let_in_later_hears_without_beginning_again(
    publish: Callable[..., ZeroMqSink], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.2)
    sink = publish()
    with subscribe(
        sink.endpoint, timeout_s=30, server_key=keys / "server.key",
        key=keys / "stranger.key_secret",
    ) as events:  # fmt: skip
        with pytest.raises(NotAdmitted):
            next(events)
        (keys / "clients" / "late.key").write_bytes((keys / "stranger.key").read_bytes())
        assert next(events).camera == "door"


def test_an_event_loop_is_told_too(publish: Callable[..., ZeroMqSink], keys: Path) -> None:
    sink = publish()

    async def listen() -> None:
        async with subscribe_async(
            sink.endpoint, timeout_s=30, server_key=keys / "server.key",
            key=keys / "stranger.key_secret",
        ) as events:  # fmt: skip
            await anext(events)

    with pytest.raises(NotAdmitted, match="does not let this key in"):
        asyncio.run(listen())


def test_latest_is_told_too_and_listens_on(
    publish: Callable[..., ZeroMqSink], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.2)
    sink = publish()
    with latest(
        sink.endpoint, timeout_s=30, server_key=keys / "server.key",
        key=keys / "stranger.key_secret",
    ) as newest:  # fmt: skip
        with pytest.raises(NotAdmitted, match="does not let this key in"):
            next(newest)
        (keys / "clients" / "late.key").write_bytes((keys / "stranger.key").read_bytes())
        assert isinstance(next(newest), FacesEvent)


def test_one_key_without_the_other_is_refused_at_once(keys: Path) -> None:
    with pytest.raises(BadKey, match="go together"):
        subscribe("tcp://127.0.0.1:1", server_key=keys / "server.key")
    with pytest.raises(BadKey, match="go together"):
        latest("tcp://127.0.0.1:1", key=keys / "stranger.key_secret")
