import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import DetectionFailed, OutOfMemory
from streamer.inference.ladder import CLIMB_S, Ladder, MemoryCounts
from streamer.types import Faces, Picture
from streamer.vision.picture import ArrayPicture

PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class Device:
    """Fits ``room`` units, where a picture of 640 takes 100; gives each picture its own answer."""

    def __init__(self, room: float) -> None:
        self.room = room
        self.runs: list[tuple[int, int]] = []

    def look(self, pictures: Sequence[Picture], input_size: int) -> list[Faces]:
        self.runs.append((len(pictures), input_size))
        if len(pictures) * (input_size / 64) ** 2 > self.room:
            raise OutOfMemory("CUDA failure 2: out of memory")
        return [Faces.none() for _ in pictures]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_all_goes_at_once_where_there_is_room() -> None:
    device, counts = Device(1600), MemoryCounts()
    assert len(Ladder(640, counts).run([PICTURE] * 16, device.look)) == 16
    assert device.runs == [(16, 640)]
    assert counts == MemoryCounts()


def test_a_batch_is_halved_until_it_fits_and_stays_so() -> None:
    device, counts = Device(300), MemoryCounts()
    ladder = Ladder(640, counts)
    assert len(ladder.run([PICTURE] * 16, device.look)) == 16
    assert device.runs == [(16, 640), (8, 640), (4, 640), *[(2, 640)] * 8]
    assert (counts.splits, counts.shrinks, counts.given_up) == (3, 0, 0)
    device.runs.clear()
    ladder.run([PICTURE] * 3, device.look)
    assert device.runs == [(2, 640), (1, 640)]
    assert ladder.most == 2


def test_then_the_input_gets_smaller_and_the_log_says_so(capfd) -> None:
    device, counts = Device(60), MemoryCounts()
    ladder = Ladder(640, counts)
    assert len(ladder.run([PICTURE] * 2, device.look)) == 2
    assert device.runs == [(2, 640), (1, 640), (1, 480), (1, 480)]
    assert (counts.splits, counts.shrinks, ladder.input_size) == (1, 1, 480)
    said = capfd.readouterr()
    assert (said.out + said.err).count("memory_short") == 2


def test_what_must_not_miss_a_face_is_never_looked_at_smaller() -> None:
    device, counts = Device(60), MemoryCounts()
    ladder = Ladder(640, counts, shrinks=False)
    with pytest.raises(OutOfMemory):
        ladder.run([PICTURE] * 2, device.look)
    assert device.runs == [(2, 640), (1, 640)]
    assert (counts.splits, counts.shrinks, counts.given_up) == (1, 0, 2)


def test_at_the_end_the_pictures_are_given_up_and_counted() -> None:
    device, counts = Device(0), MemoryCounts()
    ladder = Ladder(640, counts)
    with pytest.raises(DetectionFailed, match="out of memory"):
        ladder.run([PICTURE] * 3, device.look)
    assert device.runs == [(3, 640), (1, 640), (1, 480), (1, 320)]
    assert (counts.splits, counts.shrinks, counts.given_up) == (1, 2, 3)


def test_what_was_taken_back_returns_after_a_while_the_size_first() -> None:
    device, counts, clock = Device(60), MemoryCounts(), Clock()
    ladder = Ladder(640, counts, clock=clock)
    ladder.run([PICTURE] * 2, device.look)
    device.room = 1e6
    device.runs.clear()
    ladder.run([PICTURE] * 2, device.look)
    assert device.runs == [(1, 480), (1, 480)]
    clock.now += CLIMB_S
    ladder.run([PICTURE] * 2, device.look)
    assert (ladder.input_size, ladder.most) == (640, 1)
    clock.now += CLIMB_S
    device.runs.clear()
    ladder.run([PICTURE] * 2, device.look)
    assert device.runs == [(2, 640)]
    assert ladder.most is None


def test_other_failures_are_not_its_business() -> None:
    def look(pictures: Sequence[Picture], size: int) -> list[Faces]:
        raise DetectionFailed("nonsense")

    counts = MemoryCounts()
    with pytest.raises(DetectionFailed, match="nonsense"):
        Ladder(640, counts).run([PICTURE] * 4, look)
    assert counts == MemoryCounts()


def test_no_pictures_are_no_faces() -> None:
    assert Ladder(640, MemoryCounts()).run([], Device(0).look) == []


@pytest.mark.parametrize("size", [32, 64, 96])
def test_small_inputs_have_few_rungs_or_none(size) -> None:
    device = Device(0)
    with pytest.raises(OutOfMemory):
        Ladder(size, MemoryCounts()).run([PICTURE], device.look)
    sizes = [s for _, s in device.runs]
    assert sizes == sorted(set(sizes), reverse=True)
    assert all(s % 32 == 0 and s >= size / 2 for s in sizes)


@given(st.integers(1, 40), st.floats(0, 5000), st.integers(1, 64))
def test_it_gives_an_answer_for_every_picture_or_gives_up(count, room, blocks) -> None:
    device, counts = Device(room), MemoryCounts()
    ladder = Ladder(32 * blocks, counts)
    try:
        found = ladder.run([PICTURE] * count, device.look)
    except OutOfMemory:
        assert counts.given_up == count
        assert room < (ladder.input_size / 64) ** 2
    else:
        assert len(found) == count
        assert counts.given_up == 0
    assert len(device.runs) <= count + 12


def test_threads_that_fail_together_take_one_step_and_not_one_each() -> None:
    counts = MemoryCounts()
    ladder = Ladder(640, counts)
    barrier = threading.Barrier(4)

    def look(pictures: Sequence[Picture], size: int) -> list[Faces]:
        if len(pictures) == 4:
            barrier.wait(10)
            raise OutOfMemory("full")
        return [Faces.none() for _ in pictures]

    threads = [threading.Thread(target=ladder.run, args=([PICTURE] * 4, look)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counts.splits, ladder.most) == (1, 2)
