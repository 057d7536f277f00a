"""The programs of docs/client.md do what they say."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.conftest import Publishing

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)


def program(block: str, publisher: Publishing) -> str:
    return block.replace("tcp://127.0.0.1:5555", publisher.events).replace(
        "tcp://127.0.0.1:5556", publisher.replay
    )


def test_the_first_program_tells_events_and_that_nobody_speaks(
    publishing: Callable[..., Publishing],
) -> None:
    publisher = publishing("door")
    publisher.publish(3)
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program(BLOCKS[0], publisher)], stdout=subprocess.PIPE,
        text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("door 3 (Face(")
    publisher.publish(1)
    assert process.stdout.readline().startswith("door 4 (Face(")
    publisher.end()
    assert process.stdout.readline() == "nobody speaks\n"
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [1, 2])
def test_the_others_hear_too(publishing: Callable[..., Publishing], number: int) -> None:
    publisher = publishing("door")
    block = BLOCKS[number]
    assert block.rstrip().endswith("...")
    block = block.rstrip().removesuffix("...") + "print(event.camera); break\n"
    text = "import asyncio\nfrom streamer.client import latest, subscribe_async\n"
    if "async" in block:
        text += f"async def main():\n{textwrap.indent(block, '    ')}\nasyncio.run(main())\n"
    else:
        text += block
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program(text, publisher)], stdout=subprocess.PIPE, text=True,
        cwd=ROOT,
    )  # fmt: skip
    publisher.begin(400, 0.05)
    out, _ = process.communicate(timeout=60)
    assert out == "door\n"
    assert process.returncode == 0
