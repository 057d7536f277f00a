"""Restream to a real RTSP server: what it gets, and what becomes of us when it is gone or stuck."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from streamer.capture.backoff import Backoff
from streamer.publish.restream import Form, RestreamSink
from streamer.vision.picture import ArrayPicture
from tests.publish.test_restream import Stages, stages, waits
from tests.rtsp import SYSTEM_PYTHON
from tests.web.synthetic import outcome

__all__ = ["stages"]  # a fixture

SERVER = Path(__file__).resolve().parent.parent / "rtsp_taker.py"


class Taker:
    """The real server, in a process of its own."""

    def __init__(
        self, folder: Path, *, port: int = 0, login: tuple[str, str] | None = None
    ) -> None:
        command = [SYSTEM_PYTHON, str(SERVER), str(port), str(folder), "door", "yard"]
        command += ["--times"]
        if login is not None:
            command += ["--user", login[0], "--password", login[1]]
        self.folder = folder
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])
        self.came = 0
        """Pictures that came so far, of all streams."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.came += line.startswith("unit ")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def pictures(self, camera: str = "door") -> list[np.ndarray]:
        """Every whole picture that came so far, BGR."""
        path = self.folder / f"{camera}.h264"
        if not path.exists() or not path.stat().st_size:
            return []
        with av.open(str(path), format="h264") as container:
            return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]

    def size(self) -> int:
        path = self.folder / "door.h264"
        return path.stat().st_size if path.exists() else 0

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        self._reader.join(timeout=10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Callable[..., Taker]]:
    running: list[Taker] = []

    def start(**options: Any) -> Taker:
        running.append(Taker(tmp_path, **options))
        return running[-1]

    yield start
    for one in running:
        one.end()


def feed(sink: RestreamSink, done: Callable[[], bool], limit_s: float = 40.0, **size: int) -> None:
    """Write 25 pictures a second until it is done."""
    give_up_at = time.monotonic() + limit_s
    pace = threading.Event()
    n = 0
    while not done():
        assert time.monotonic() < give_up_at, sink.status()
        sink.write(outcome("door", n, **size))
        n += 1
        pace.wait(0.04)


@pytest.mark.rtsp
def test_a_real_server_gets_pictures_with_faces_drawn_and_is_dialled_again_when_it_was_gone(
    taker: Callable[..., Taker], stages: Stages
) -> None:
    server = taker()
    url = f"rtsp://127.0.0.1:{server.port}/{{camera}}"
    quick = lambda: Backoff(first_s=0.2, most_s=0.5, auth_s=60.0, random=lambda: 1.0)  # noqa: E731
    sink = RestreamSink(url, Form(fps=25), waits=quick)
    sink.begin(stages.start)
    feed(sink, lambda: server.size() > 20_000)
    image = server.pictures()[0].astype(int)
    assert image.shape == (180, 320, 3)
    first = outcome("door", 0).tracks.faces.boxes[0].astype(int)  # type: ignore[union-attr]
    part = image[:, first[0] - 6 : first[0] + 12]
    assert (part.max(axis=2) - part.min(axis=2)).max() > 60  # the frame's colour: all else is grey
    server.end()
    feed(sink, lambda: sink.status()[0].state == "backing_off")
    again = taker(port=server.port)
    before = again.size()
    feed(sink, lambda: again.size() > before + 10_000)
    status = sink.status()[0]
    assert status.state == "live"
    assert sum(status.losses.values()) >= 1
    sink.close()


@pytest.mark.rtsp
def test_a_server_that_stops_reading_is_told_of_and_costs_nobody_else_anything(
    taker: Callable[..., Taker], stages: Stages
) -> None:
    server = taker()
    sink = RestreamSink(
        f"rtsp://127.0.0.1:{server.port}/{{camera}}", Form(width=1280, fps=50, kbps=50_000),
        waits=waits,
    )  # fmt: skip
    sink.begin(stages.start)
    feed(sink, lambda: server.size() > 10_000, width=1280, height=720)
    server.signal(signal.SIGSTOP)
    noise = [
        ArrayPicture(np.random.default_rng(n).integers(0, 256, (720, 1280, 3), np.uint8))
        for n in range(4)
    ]
    slowest, n = 0.0, 0
    give_up_at = time.monotonic() + 60
    while sink.status()[0].state == "live":
        assert time.monotonic() < give_up_at
        one = outcome("door", n, picture=noise[n % 4])
        at = time.thread_time()
        sink.write(one)
        slowest = max(slowest, time.thread_time() - at)
        n += 1
        threading.Event().wait(0.01)
    assert sink.status()[0].state in ("stalled", "backing_off")
    assert sink.status()[0].dropped["queue_full"] > 0
    assert slowest < 0.05  # of its own time: who writes does not wait
    sink.close()
    server.end()  # what is blocked ends with the connection


@pytest.mark.rtsp
def test_a_wrong_password_is_a_refusal_and_the_right_one_is_not_printed(
    taker: Callable[..., Taker], stages: Stages
) -> None:
    server = taker(login=("cam", "pa55word"))
    for password, state in (("wr0ng", "backing_off"), ("pa55word", "live")):
        sink = RestreamSink(
            f"rtsp://cam:{password}@127.0.0.1:{server.port}/{{camera}}", Form(), waits=waits
        )
        sink.begin(stages.start)
        with capture_logs() as lines:
            feed(sink, lambda: bool(sink.status()) and sink.status()[0].state == state)  # noqa: B023
        status = sink.status()[0]
        assert status.losses == ({"auth": 1} if state == "backing_off" else {})
        assert password not in f"{lines} {status}"
        sink.close()
        stages.join()
