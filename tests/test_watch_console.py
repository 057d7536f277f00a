"""`streamer watch` in a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

from streamer.publish.zeromq import ZeroMqSink
from tests.client.publisher import faces


def test_in_a_terminal_watch_shows_a_table() -> None:
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
    watcher.send_signal(signal.SIGINT)
    watcher.wait(timeout=20)
    os.close(ours)
    sink.close()
