"""Starts and stops the RTSP server of ``rtsp_server.py`` for a test."""

import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own Python: the only one that sees Debian's PyGObject."""

_PROGRAM = Path(__file__).with_name("rtsp_server.py")
_START_S = 30.0


class RtspServer:
    """A running server. ``port`` and ``frames`` (frames in the clip) are known once it is ready."""

    def __init__(
        self,
        clip: Path,
        *,
        user: str | None = None,
        password: str | None = None,
        transport: Literal["tcp", "udp", "both"] = "tcp",
        port: int = 0,
    ) -> None:
        """Start it and wait until it listens. Raises ``RuntimeError`` when it does not."""
        self.user, self.password = user, password
        command = [SYSTEM_PYTHON, str(_PROGRAM), str(clip), str(port), "--transport", transport]
        if user is not None:
            command += ["--user", user, "--password", password or ""]
        # It ends when its standard input does: it cannot outlive the tests.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="rtsp-output", daemon=True)
        self._reader.start()
        try:
            self.port = int(self._wait_for("port "))
            self.frames = int(self._wait_for("ready "))
        except BaseException:
            self.kill()
            raise

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put("")

    def _wait_for(self, start: str) -> str:
        give_up_at = time.monotonic() + _START_S
        said = []
        while (left := give_up_at - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line.startswith(start):
                return line.removeprefix(start).split()[0]
            said.append(line)
            if not line:
                break
        raise RuntimeError(f"the RTSP server did not say {start!r}: {' | '.join(said)[-800:]}")

    def url(self, path: Literal["loop", "once"] = "loop", credentials: bool = True) -> str:
        """The address of the endless stream, or of the one that ends with the file."""
        login = ""
        if credentials and self.user is not None:
            login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        return f"rtsp://{login}127.0.0.1:{self.port}/{path}"

    def pause(self) -> None:
        """Freeze the server, as a camera that hangs: connections stay open, nothing comes."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server at once, as a camera that loses its power."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """End the server properly. Safe to call more than once and on a frozen server."""
        if self._process.poll() is None:
            self._process.terminate()
            self.resume()
        self._end()

    def _end(self) -> None:
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        self._reader.join(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def rtsp_server(
    clip: Path,
    *,
    user: str | None = None,
    password: str | None = None,
    transport: Literal["tcp", "udp", "both"] = "tcp",
    port: int = 0,
) -> Iterator[RtspServer]:
    """Stream ``clip`` (MP4, H.264, no B-frames) on 127.0.0.1 while the block runs.

    With ``user`` and ``password`` it asks for digest authentication. ``port`` 0 takes a free
    one; give the port of a server that was killed to let the camera come back.
    """
    server = RtspServer(clip, user=user, password=password, transport=transport, port=port)
    try:
        yield server
    finally:
        server.stop()
