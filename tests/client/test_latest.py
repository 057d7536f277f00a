"""Only the newest, for programs slower than the cameras."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from streamer.client import FacesEvent, Latest, NothingHeard, Restarted, Stale, latest, subscribe
from streamer.client import latest as latest_of
from streamer.client.connection import Connection
from tests.client.conftest import Publishing


def test_a_slow_program_gets_what_is_new_and_cameras_take_turns(
    publishing: Callable[..., Publishing],
) -> None:
    publisher = publishing("door", "yard")
    with latest(publisher.events, replay=publisher.replay, timeout_s=30) as newest:
        publisher.begin(600, 0.002)
        heard: list[tuple[str, int]] = []
        while len(heard) < 6:
            event = next(newest)
            assert isinstance(event, FacesEvent)
            heard.append((event.camera, event.seq))
            time.sleep(0.1)  # some fifty events of each camera
        last = publisher.done()
        time.sleep(0.2)
        ends = {event.camera: event.seq for event in (next(newest), next(newest))}  # type: ignore[union-attr]
        assert newest.skipped > 0
    assert ends == {"door": last["faces/door/"], "yard": last["faces/yard/"]}
    for camera in ("door", "yard"):
        seqs = [seq for name, seq in heard if name == camera]
        assert seqs == sorted(set(seqs))
        assert len(seqs) >= 2
    assert len(heard) < 100


def test_state_is_there_at_once(publishing: Callable[..., Publishing]) -> None:
    publisher = publishing("door")
    publisher.publish(5)
    with latest(publisher.events, replay=publisher.replay, timeout_s=30) as newest:
        assert next(newest).seq == 5  # type: ignore[union-attr]


def test_a_restart_and_silence_are_told_where_asked_for(
    publishing: Callable[..., Publishing],
) -> None:
    publisher = publishing("door", boot_id="one")
    publisher.publish(1)
    with latest(publisher.events, replay=publisher.replay, notices=True, timeout_s=30) as newest:
        assert isinstance(next(newest), FacesEvent)
        publisher.end()
        assert isinstance(next(newest), Stale)
        publishing("door", boot_id="two", events=publisher.events, replay=publisher.replay)
        assert next(newest) == Restarted("one", "two")


def test_silence_is_an_error_where_a_limit_was_given() -> None:
    with (
        latest("tcp://127.0.0.1:1", timeout_s=0.05) as newest,
        pytest.raises(NothingHeard, match="within 50 ms; check that"),
    ):
        next(newest)


@pytest.mark.parametrize("form", [latest, subscribe])
def test_closing_in_a_child_leaves_the_parent_listening(
    publishing: Callable[..., Publishing], form: Callable[..., Latest]
) -> None:
    publisher = publishing("door")
    program = f"""
import os, sys, time
from streamer.client import {form.__name__} as form
with form({publisher.events!r}, replay={publisher.replay!r}, timeout_s=20) as events:
    if not (child := os.fork()):
        events.close()
        assert list(events) == []
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print("forked", flush=True)
    busy_s = time.process_time()
    print(type(next(events)).__name__, time.process_time() - busy_s < 0.5)
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    time.sleep(1.0)  # who was woken for nothing would be busy all this time
    publisher.publish(3)
    assert process.communicate(timeout=30)[0] == "FacesEvent True\n"


def test_closing_from_another_thread_ends_the_waiting() -> None:
    newest = latest("tcp://127.0.0.1:1")
    threading.Timer(0.05, newest.close).start()
    assert list(newest) == []
    newest.close()
    assert (newest.skipped, newest.malformed) == (0, 0)


def test_what_fails_in_the_thread_is_raised_to_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Connection) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Connection, "pump", fail)
    with latest_of("tcp://127.0.0.1:1") as newest, pytest.raises(RuntimeError, match="a bug"):
        next(newest)
