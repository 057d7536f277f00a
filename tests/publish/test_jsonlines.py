"""JSON lines: the wire's shape, one line at once, and a reader that leaves early."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamer.events import decode
from streamer.flow.channel import Closed
from streamer.publish.jsonlines import JsonLinesSink
from streamer.testing import ManualClock
from streamer.types import Faces, Failure, Frame, NoPicture, Result, Stamps, Tracks


def frame(camera: str, index: int) -> Frame:
    return Frame(camera, 0, index, 10.0, 1700000000.0, None, NoPicture(64, 48))


STAMPS = Stamps(10.0, 10.0, 10.0)


def nobody(camera: str, index: int) -> Result:
    return Result(frame(camera, index), Tracks(np.zeros(0, np.int64), Faces.none()), STAMPS)


def test_one_line_for_each_outcome_in_the_shape_of_the_wire() -> None:
    stream = io.BytesIO()
    sink = JsonLinesSink(stream, boot_id="b", model="m", clock=ManualClock(10.5))
    sink.write(nobody("a.mp4", 0))
    sink.write(Failure(frame("a.mp4", 1), STAMPS, "no numbers"))
    sink.write(nobody("b.mp4", 0))
    sink.close()
    events = [decode(line) for line in stream.getvalue().splitlines()]
    assert [(e.camera, e.seq, e.status, e.faces) for e in events] == [
        ("a.mp4", 1, "detected", ()),
        ("a.mp4", 2, "failed", None),
        ("b.mp4", 1, "detected", ()),
    ]
    assert {e.age_ms for e in events} == {500.0}
    assert sink.written == 3
    assert not stream.closed


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as stream:
        sink = JsonLinesSink(stream, boot_id="b", model="m")
        for count in (1, 2):
            sink.write(nobody("door", count))
            assert len(path.read_bytes().splitlines()) == count


def test_a_reader_that_is_gone_closes_the_sink_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "wb")
    sink = JsonLinesSink(stream, boot_id="b", model="m")
    with pytest.raises(Closed):
        sink.write(nobody("door", 0))
    sink.close()
    assert sink.written == 0
    assert stream.closed


PROGRAM = """
import sys, threading
import numpy as np
from streamer.flow.channel import Channel
from streamer.flow.stage import Stage, StageGroup
from streamer.publish.jsonlines import JsonLinesSink
from streamer.types import Faces, Frame, NoPicture, Result, Stamps, Tracks

channel = Channel("lines", capacity=4, overflow="block")

def feed():
    nobody = Tracks(np.zeros(0, np.int64), Faces.none())
    index = 0
    while True:
        frame = Frame("door", 0, index, 0.0, 0.0, None, NoPicture(64, 48))
        channel.put(Result(frame, nobody, Stamps(0, 0, 0)))
        index += 1

def publish():
    sink = JsonLinesSink(sys.stdout.buffer, boot_id="b", model="m")
    try:
        for outcome in channel:
            sink.write(outcome)
    finally:
        sink.close()

StageGroup(
    [Stage("feed", feed, writes=[channel]), Stage("publish", publish, reads=[channel])],
    stopping=threading.Event(), drain_s=5,
).run()
print("folded up", file=sys.stderr)
"""


def test_piped_into_head_the_whole_program_ends_well_and_silently() -> None:
    ran = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -n 3', sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [decode(line.encode()).seq for line in ran.stdout.splitlines()] == [1, 2, 3]
    assert ran.stderr == "folded up\n"
    assert ran.returncode == 0


def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream:
        sink = JsonLinesSink(stream, boot_id="b", model="m")
        with pytest.raises(OSError, match="No space left"):
            sink.write(nobody("door", 0))
        assert sink.written == 0
