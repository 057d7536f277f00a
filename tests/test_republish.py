"""A recording, published again: real sockets, and the command line."""

import threading
from pathlib import Path

import pytest
import zmq
from msgspec.structs import replace

from streamer.client import CameraEvent, FacesEvent, Stopped, subscribe
from streamer.client.recording import BadRecording, Entry, Recorder
from streamer.events import Attached, decode, decode_camera
from streamer.publish.zeromq import ZeroMqSink
from streamer.republish import PAUSE_S, replay_file, republish
from tests.client.publisher import change, faces
from tests.e2e.program import free_port


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    with Recorder(path, max_bytes=10**6, began_at=0.0, wall_clock=lambda: 1.7e9) as recorder:
        recorder.take(decode_camera(change("door", 7, "old")), 0.0)
        for step in range(30):
            recorder.take(decode(faces("door", 100 + 2 * step, "old")), step / 10)
    return path


class Told:
    """A sink that keeps what it is told, and a clock that waiting moves."""

    def __init__(self, stop_after: int) -> None:
        self.now = 0.0
        self.beats: list[float] = []
        self.told: list[tuple[float, object]] = []
        self.stop_after = stop_after

    def write_beat(self, beat: object) -> None:
        self.beats.append(self.now)

    def write_again(self, to: bytes, fields: dict[str, object]) -> None:
        self.told.append((round(self.now, 6), fields["n"]))

    def is_set(self) -> bool:
        return len(self.told) >= self.stop_after

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_timing_speed_and_repetition() -> None:
    def read() -> list[Entry]:
        return [Entry(at_s, b"faces/door/", {"n": at_s}) for at_s in (0.5, 2.5)]

    once = Told(99)
    count = republish(
        read, once, speed=2.0, loop=False, stop=once, clock=lambda: once.now,  # type: ignore[arg-type]
        wall_clock=lambda: 0.0,
    )  # fmt: skip
    assert (count, once.told, once.beats) == (2, [(0.25, 0.5), (1.25, 2.5)], [0.0, 1.0])
    again = Told(4)
    count = republish(
        read, again, speed=1.0, loop=True, stop=again, clock=lambda: again.now,  # type: ignore[arg-type]
        wall_clock=lambda: 0.0,
    )  # fmt: skip
    assert [at for at, _ in again.told] == [0.5, 2.5, 2.5 + PAUSE_S + 0.5, 2.5 + PAUSE_S + 2.5]
    assert count == 4


def test_who_hears_a_recording_hears_one_run_without_gaps(recording: Path) -> None:
    bind, answers = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    counts: list[int] = []
    thread = threading.Thread(
        target=lambda: counts.append(
            replay_file(
                recording, bind=bind, answers=answers, speed=2.0, loop=False, stop=threading.Event()
            )
        )
    )
    heard: list[object] = []
    with subscribe(bind, replay=answers, changes=True, timeout_s=30) as events:
        thread.start()
        for event in events:
            heard.append(event)
            if isinstance(event, Stopped):
                break
        assert events.lost == 0
    thread.join()
    assert counts == [31]
    seqs = [one.seq for one in heard if isinstance(one, FacesEvent)]
    assert seqs == list(range(seqs[0], 31))  # counted anew
    assert len({one.boot_id for one in heard} - {"old"}) == 1  # type: ignore[attr-defined]
    assert sum(isinstance(one, CameraEvent) for one in heard) == 1


def test_a_recording_with_pictures_may_be_published_as_messagepack(tmp_path: Path) -> None:
    path, bind = tmp_path / "recording", f"tcp://127.0.0.1:{free_port()}"
    picture = Attached(3, 64, 48, bytes(range(256)))
    with Recorder(path, max_bytes=10**6, began_at=0.0, wall_clock=lambda: 1.7e9) as recorder:
        recorder.take(replace(decode(faces("door", 1, "old")), pictures=(picture,)), 0.0)
    stop = threading.Event()
    thread = threading.Thread(
        target=replay_file, args=(path,),
        kwargs={"bind": bind, "answers": None, "speed": 1000, "loop": True, "stop": stop,
                "form": "msgpack"},
    )  # fmt: skip
    try:
        with subscribe(bind, timeout_s=30) as events, zmq.Context() as context:
            with context.socket(zmq.SUB) as plain:
                plain.connect(bind)
                plain.subscribe(b"faces/")
                thread.start()
                assert next(events).pictures == (picture,)
                assert plain.poll(30_000)
                assert plain.recv_multipart()[1][0] >= 0x80
            assert events.malformed == 0
    finally:
        stop.set()
        thread.join()


def test_a_number_that_cannot_be_written_is_one_sentence() -> None:
    sink = ZeroMqSink("tcp://127.0.0.1:*", boot_id="b", model="", form="msgpack")
    entry = Entry(0.5, b"faces/door/", {"more": 2**70})
    with pytest.raises(BadRecording, match=r"faces/door/ at 0\.5 s has a number beyond 64 bits"):
        republish(lambda: [entry], sink, speed=9.0, loop=False, stop=threading.Event())
    sink.close()
