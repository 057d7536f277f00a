"""`streamer watch` in a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from streamer.changes import Beat
from streamer.publish.zeromq import ZeroMqSink
from tests.client.publisher import faces


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_terminal_watch_shows_a_table(number: signal.Signals) -> None:
    sink = ZeroMqSink("tcp://127.0.0.1:*", boot_id="b", model="m")
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    watcher = subprocess.Popen(
        [sys.executable, "-m", "streamer", "watch", sink.endpoint],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environ,
    )  # fmt: skip
    os.close(theirs)
    shown, give_up_at = b"", time.monotonic() + 60
    fields = json.loads(faces("door", 1, "b"))
    os.set_blocking(ours, False)
    while not (b"results/s" in shown and b"door" in shown):
        sink.write_again(b"faces/door/", fields)
        time.sleep(0.05)
        assert time.monotonic() < give_up_at, shown
        try:
            shown += os.read(ours, 65536)
        except BlockingIOError:
            pass
    watcher.send_signal(number)
    assert watcher.wait(timeout=20) == 128 + number
    shown += os.read(ours, 65536)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back
    os.close(ours)
    sink.close()


def test_silence_is_told_once_and_not_where_it_is_as_it_should() -> None:
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*", boot_id="b", model="m", final=lambda: Beat(0.0, 0.0, {})
    )  # fmt: skip
    watcher = subprocess.Popen(
        [sys.executable, "-m", "streamer", "watch", sink.endpoint],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    assert "nothing came from" in watcher.stderr.readline()
    fields, said = json.loads(faces("door", 1, "b")), threading.Event()
    thread = threading.Thread(target=lambda: (watcher.stdout.readline(), said.set()))  # type: ignore[union-attr]
    thread.start()
    while not said.wait(0.05):
        sink.write_again(b"faces/door/", fields)
    for _ in range(40):  # longer than silence may be
        sink.write_beat(Beat(0.0, 0.0, {}))
        time.sleep(0.1)
    sink.close()
    while "streamer has ended" not in watcher.stdout.readline():
        pass
    time.sleep(3.5)
    watcher.send_signal(signal.SIGINT)
    _, more = watcher.communicate(timeout=20)
    thread.join()
    assert more == ""
