"""Real brokers for tests: Debian's mosquitto and nats-server, killed and started as asked."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

START_S = 30.0


def program(name: str) -> str | None:
    """Where the program is, /usr/sbin included; None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Broker:
    """A broker on 127.0.0.1; its ``port`` stays the same however often it is started."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        """Know how; :meth:`start` does it."""
        self.command = command
        self.port = port
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        give_up_at = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < give_up_at
                time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as by ``kill -9``."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


def mosquitto(folder: Path, port: int, *lines: str) -> Broker:
    """An MQTT broker that keeps nothing over a restart; ``lines`` go to its configuration."""
    config = folder / "mosquitto.conf"
    listener = [f"listener {port} 127.0.0.1", *lines]
    if not any(line.startswith("allow_anonymous") for line in lines):
        listener.append("allow_anonymous true")
    config.write_text("\n".join([*listener, "persistence false", "user root", ""]))
    found = program("mosquitto")
    assert found is not None
    return Broker([found, "-c", str(config)], port, folder / "mosquitto.log")


def nats_server(folder: Path, port: int, *options: str) -> Broker:
    """A NATS server with JetStream, whose streams are files in ``folder``."""
    found = program("nats-server")
    assert found is not None
    command = [found, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "js")]
    return Broker([*command, *options], port, folder / "nats.log")
