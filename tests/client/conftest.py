"""Publishers and subscribers in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PLENTY = 64 * 2**20


class Publishing:
    """The publisher's process; tests/client/publisher.py is what runs there."""

    def __init__(self, *words: str, events: str, replay: str, boot_id: str, keeps: int) -> None:
        command = [
            sys.executable, str(HERE / "publisher.py"), events, replay, boot_id, str(keeps), *words,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events, self.replay = json.loads(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def begin(self, count: int, pause_s: float = 0.0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count} {pause_s}\n")
        self.process.stdin.flush()

    def done(self) -> dict[str, int]:
        word, _, last = self.line().partition(" ")
        assert word == "done"
        return json.loads(last)  # type: ignore[no-any-return]

    def publish(self, count: int, pause_s: float = 0.0) -> dict[str, int]:
        self.begin(count, pause_s)
        return self.done()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def publishing() -> Iterator[Callable[..., Publishing]]:
    begun: list[Publishing] = []

    def begin(
        *cameras: str,
        events: str = "tcp://127.0.0.1:*",
        replay: str = "tcp://127.0.0.1:*",
        boot_id: str = "boot",
        keeps: int = PLENTY,
    ) -> Publishing:
        begun.append(
            Publishing(*cameras, events=events, replay=replay, boot_id=boot_id, keeps=keeps)
        )
        return begun[-1]

    yield begin
    for one in begun:
        one.end()
