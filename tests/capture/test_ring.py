from __future__ import annotations

import gc
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.liveness import sample
from streamer.capture.planes import FORMATS, LOCATIONS, Developer, Layout
from streamer.capture.ring import Ring, RingPicture, Stored, pack, unpack
from streamer.errors import SourceLost
from streamer.types import Frame
from streamer.vision.picture import ArrayPicture
from tests.capture.test_planes import patches


def ring(slots: int = 2, max_pixels: int = 322 * 240) -> Ring:
    fd = Ring.create(slots=slots, max_pixels=max_pixels)
    try:
        return Ring(fd, slots=slots, max_pixels=max_pixels)
    finally:
        os.close(fd)


def frame_of(value: int, width: int = 64, height: int = 48) -> Frame:
    picture = ArrayPicture(np.full((height, width, 3), value, np.uint8))
    return Frame("door", 3, 7, 1.5, 2.5, None, picture)


def through(memory: Ring, frame: Frame) -> Frame:
    slot = memory.free_slot()
    assert slot is not None
    return memory.take(unpack(pack(memory.store(slot, frame))), "door", Developer())[0]


def rings_mapped() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:streamer-ring")


U32 = st.integers(0, 2**32 - 1)
INSTANTS = st.floats(allow_nan=False)


def layouts(sides: st.SearchStrategy[int]) -> st.SearchStrategy[Layout]:
    return st.builds(
        Layout, st.sampled_from(sorted(FORMATS)), sides, sides, st.integers(0, 3), st.booleans(),
        st.integers(0, LOCATIONS - 1), U32, st.integers(0, 2),
    ).filter(lambda layout: layout.form != "bgr24" or not layout.turns)  # fmt: skip


def stored(slots: int, sides: st.SearchStrategy[int]) -> st.SearchStrategy[Stored]:
    numbers = st.integers(0, 2**64 - 1)
    return st.builds(
        Stored, st.integers(0, slots - 1), layouts(sides), U32, numbers, INSTANTS, INSTANTS,
        st.none() | INSTANTS, U32,
    )  # fmt: skip


MESSAGE = len(pack(Stored(0, Layout("gray", 1, 1), 0, 0, 0.0, 0.0, None)))


@given(stored(256, U32))
def test_messages_come_back_as_they_were(told: Stored) -> None:
    assert unpack(pack(told)) == told


@given(stored(2, st.integers(1, 90)))
def test_whatever_is_taken_can_be_looked_at(told: Stored) -> None:
    _, picture = ring().take(unpack(pack(told)), "door", Developer())
    assert picture.bgr(8, 8).shape == (8, 8, 3)
    assert picture.bgr().shape == (picture.height, picture.width, 3)


@given(st.binary(max_size=100) | st.binary(min_size=MESSAGE, max_size=MESSAGE))
def test_any_bytes_are_a_message_or_a_value_error(message: bytes) -> None:
    memory = ring()
    try:
        _, picture = memory.take(unpack(message), "door", Developer())
    except ValueError:
        return
    picture.bgr(8, 8)  # whatever it says, it can be looked at


def test_a_frame_goes_through_with_all_its_numbers() -> None:
    direct = AvPicture(patches(320, 240, "yuv420p"), ColourConverter())
    frame = through(ring(), Frame("child's own", 3, 7, 1.5, 2.5, 0.0, direct, 4))
    assert (frame.camera, frame.epoch, frame.index, frame.left_out) == ("door", 3, 7, 4)
    assert (frame.captured_at, frame.wall_at, frame.pts) == (1.5, 2.5, 0.0)
    assert np.array_equal(frame.picture.bgr(), direct.bgr())
    assert through(ring(), frame_of(1)).pts is None


def test_a_sample_is_the_one_the_source_would_give() -> None:
    pictures = [
        AvPicture(patches(322, 240, form), ColourConverter())
        for form in ("yuv420p", "nv12", "yuv420p10le", "gray")
    ]
    for picture in (*pictures, frame_of(5).picture):
        memory = ring()
        copied = through(memory, Frame("door", 0, 0, 0, 0, None, picture)).picture
        wanted = sample(picture)
        assert wanted is not None
        for _ in range(2):
            assert np.array_equal(sample(copied), wanted.reshape(len(wanted), -1))
            copied.bgr(8, 8)
            memory.store(0, frame_of(77))  # its old slot holds another picture by now


def test_slots_run_out_and_come_back_when_pictures_are_let_go() -> None:
    memory = ring(slots=2)
    first, second = through(memory, frame_of(1)), through(memory, frame_of(2))
    assert memory.free_slot() is None
    del first
    assert memory.free_slot() == 0
    third = through(memory, frame_of(3))
    assert memory.free_slot() is None
    assert second.picture.bgr()[0, 0, 0] == 2
    assert memory.free_slot() == 1, "it was copied out: the picture lives, the slot is free"
    fourth = through(memory, frame_of(4))
    assert second.picture.bgr()[0, 0, 0] == 2
    assert [f.picture.bgr()[0, 0, 0] for f in (third, fourth)] == [3, 4]
    gc.collect()
    assert memory.free_slot() == 0


def test_a_picture_can_be_kept_before_it_is_looked_at() -> None:
    memory = ring(slots=3)
    first, second = through(memory, frame_of(1)), through(memory, frame_of(2))
    assert memory.is_short()
    assert isinstance(first.picture, RingPicture)
    first.picture.keep()
    first.picture.keep()
    assert not memory.is_short()
    third = through(memory, frame_of(3))
    assert memory.is_short()
    assert [f.picture.bgr()[0, 0, 0] for f in (first, second, third)] == [1, 2, 3]


def test_a_slot_that_was_freed_early_is_not_freed_again_with_the_picture() -> None:
    memory = ring(slots=2)
    old = through(memory, frame_of(1))
    old.picture.bgr()
    young = through(memory, frame_of(2))
    assert memory.free_slot() == 1
    del old
    assert memory.free_slot() == 1, "slot 0 belongs to the young one by now"
    assert young.picture.bgr()[0, 0, 0] == 2


def test_a_picture_in_a_cycle_frees_its_slot_when_it_is_collected() -> None:
    memory = ring(slots=2)
    loop: list[object] = [through(memory, frame_of(1))]
    loop.append(loop)
    del loop
    gc.collect()
    assert memory.free_slot() == 0


def test_many_threads_ask_one_picture_and_get_the_same_array() -> None:
    memory = ring()
    frame = through(
        memory,
        Frame("d", 0, 0, 0, 0, None, AvPicture(patches(320, 240, "nv12"), ColourConverter())),
    )
    ready, images = threading.Barrier(8), []

    def ask() -> None:
        ready.wait(10)
        images.append(frame.picture.bgr(160, 120))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(images) == 8
    assert all(image is images[0] for image in images)
    assert not images[0].flags.writeable
    assert memory.free_slot() == 0


def test_what_is_larger_than_the_ring_is_a_loss() -> None:
    memory = ring(max_pixels=64 * 48)
    through(memory, frame_of(1, 64, 48))
    with pytest.raises(SourceLost, match="65x48 pictures and 3072 pixels are allowed") as lost:
        memory.store(0, frame_of(1, 65, 48))
    assert lost.value.reason == "too_large"
    assert memory.free_slot() == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"slot": 2},
        {"layout": Layout("yuv420p", 0, 10)},
        {"layout": Layout("yuv420p", 10, 0)},
        {"layout": Layout("yuv420p", 2**32 - 1, 2**32 - 1)},
        {"layout": Layout("yuv420p", 77281, 1)},
        {"layout": Layout("nv12", 8, 8, turns=4)},
        {"layout": Layout("bgr24", 8, 8, turns=1)},
        {"layout": Layout("nv12", 8, 8, location=LOCATIONS)},
        {"layout": Layout("nv12", 8, 8, color_range=3)},
    ],
)
def test_lies_are_refused(lie: dict[str, object]) -> None:
    truth = {
        "slot": 0, "layout": Layout("yuv420p", 8, 8), "epoch": 0, "index": 0, "captured_at": 0.0,
        "wall_at": 0.0, "pts": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"picture|slot"):
        ring().take(unpack(pack(Stored(**truth | lie))), "door", Developer())  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1, 2, 77280])
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_thinnest_picture_fits_whatever_its_format(form: str, width: int) -> None:
    layout = Layout(form, width, 77280 // width)
    told = Stored(1, layout, 0, 0, 0.0, 0.0, None)
    _, picture = ring().take(unpack(pack(told)), "door", Developer())
    assert picture.bgr(4, 4).shape == (4, 4, 3)


@pytest.mark.parametrize("slots", [-1, 0, 1, 65])
def test_a_ring_has_a_few_slots(slots: int) -> None:
    with pytest.raises(ValueError, match="from 2 to 64 slots"):
        Ring.create(slots=slots, max_pixels=100)
    with pytest.raises(ValueError, match="max_pixels"):
        Ring.create(slots=2, max_pixels=0)


def test_the_child_cannot_take_memory_away() -> None:
    fd = Ring.create(slots=2, max_pixels=100)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 1 << 30)
    finally:
        os.close(fd)


def test_counters_are_seen_through_another_mapping() -> None:
    fd = Ring.create(slots=2, max_pixels=100)
    try:
        ours, theirs = (Ring(fd, slots=2, max_pixels=100) for _ in range(2))
    finally:
        os.close(fd)
    theirs.beat, theirs.dropped, theirs.decode_errors = 1, 2**40, 3
    assert (ours.beat, ours.dropped, ours.decode_errors) == (1, 2**40, 3)
    theirs.store(0, frame_of(5, 10, 10))
    assert ours.free_slot() == 1


def test_memory_is_given_back_with_the_last_picture_and_slots_untouched_cost_none() -> None:
    before = rings_mapped()
    fd = Ring.create(slots=64, max_pixels=8192 * 8192)
    memory = Ring(fd, slots=64, max_pixels=8192 * 8192)
    frame = through(memory, frame_of(9))
    assert os.fstat(fd).st_blocks * 512 < 8 * mmap.PAGESIZE
    os.close(fd)
    del memory
    assert rings_mapped() == before + 1
    assert frame.picture.bgr()[0, 0, 0] == 9
    gone = frame.picture
    assert isinstance(gone, RingPicture)
    del frame, gone
    gc.collect()
    assert rings_mapped() == before
