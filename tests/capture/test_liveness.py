from __future__ import annotations

import av
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.capture.liveness import SAMPLED_ROWS, Flood, Stillness, StreamTime, sample
from streamer.types import NoPicture
from streamer.vision.picture import ArrayPicture


def array(value: int, *, row: int = 0) -> ArrayPicture:
    pixels = np.zeros((64, 48, 3), np.uint8)
    pixels[row] = value
    return ArrayPicture(pixels)


def decoded(value: int, width: int = 100, height: int = 60) -> AvPicture:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([value]) * plane.buffer_size)
    return AvPicture(frame, ColourConverter())


def test_a_decoded_picture_shows_rows_without_padding_or_conversion() -> None:
    class Never(ColourConverter):
        def bgr(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
            raise AssertionError("converted")

    frame = av.VideoFrame(100, 60, "yuv420p")
    plane = frame.planes[0]
    assert plane.line_size > 100, "the test needs padding"
    rows = np.arange(plane.height, dtype=np.uint8)[:, None].repeat(plane.line_size, 1)
    rows[:, 100:] = 255
    plane.update(rows.tobytes())
    seen = sample(AvPicture(frame, Never()))
    assert seen is not None
    assert seen.shape == (8, 100)
    assert (seen == np.arange(0, 60, SAMPLED_ROWS)[:, None]).all()


def test_a_picture_that_would_have_to_be_converted_is_not_looked_at() -> None:
    assert sample(NoPicture(4, 4)) is None
    stillness = Stillness(10)
    assert not any(stillness.see(NoPicture(4, 4), n) for n in range(100))
    assert not stillness.frozen


def test_the_same_picture_for_ten_seconds_is_frozen_until_it_changes() -> None:
    for make in (array, decoded):
        stillness, changes = Stillness(10.0), []
        for n in range(250 + 300 + 250):
            value = n % 200 if n < 250 or n >= 550 else 7  # moves, stands from 10 to 22 s, moves
            if stillness.see(make(value), n / 25):
                changes.append((n / 25, stillness.frozen))
        assert [frozen for _, frozen in changes] == [True, False]
        assert 20.0 <= changes[0][0] <= 21.1, "ten seconds after the first look at it"
        assert changes[1][0] == 22.0, "at the first picture that differs"


def test_a_rhythm_of_a_second_is_no_standstill() -> None:
    stillness = Stillness(10.0)
    for n in range(25 * 60):
        assert not stillness.see(array(n % 25), n / 25)


def test_a_small_clock_in_the_picture_is_seen() -> None:
    stillness = Stillness(10.0)
    for n in range(25 * 60):
        pixels = np.zeros((64, 48, 3), np.uint8)
        pixels[20:32, 4:10] = n // 25 % 60  # digits twelve pixels high
        assert not stillness.see(ArrayPicture(pixels), n / 25)


def test_another_size_is_another_picture() -> None:
    stillness = Stillness(2.0)
    for n in range(40):
        side = 40 if n % 20 < 10 else 48
        assert not stillness.see(ArrayPicture(np.zeros((side, side, 3), np.uint8)), n / 10)


def test_another_life_begins_anew() -> None:
    stillness = Stillness(1.0)
    assert any(stillness.see(array(5), n / 10) for n in range(20))
    stillness.begin()
    assert not stillness.frozen
    assert not stillness.see(array(5), 2.0)


def test_moving_pictures_are_looked_at_once_a_second() -> None:
    looks = []

    class Counted(NoPicture):
        def sample(self) -> np.ndarray:
            looks.append(1)
            return np.full((1, 1), len(looks) % 200, np.uint8)

    stillness = Stillness(10.0)
    for n in range(250):
        stillness.see(Counted(4, 4), n / 25)
    assert len(looks) == 10


@given(st.floats(1, 1000), st.floats(1, 600))
def test_a_flood_is_more_than_so_many_in_a_second(fps: float, most: float) -> None:
    flood = Flood(most)
    flood.begin(0.0)
    flooded = any(flood.see(n / fps) for n in range(int(3 * fps)))
    if fps > most + 2:
        assert flooded
    if fps < most - 2:
        assert not flooded


def test_stream_time_counts_what_is_no_progress() -> None:
    cases: list[tuple[list[float | None], int]] = [
        ([0, 0.04, 0.08], 0),
        ([None, None, 0.04, None, 0.08], 0),
        ([0, 0.04, 0.04, 0.08], 1),  # repeated
        ([100, 90, 90.04], 1),  # ten seconds back
        ([47721.8, 0.0, 0.04], 1),  # 32 bits of 90 kHz, over
        ([0, 23860.9, 23860.95], 1),  # 2**31 ticks ahead
        ([0, 3.0, 6.0], 0),  # a gap
    ]
    for times, jumps in cases:
        stream = StreamTime()
        for n, pts in enumerate(times):
            stream.see(pts, n * 0.04)
        assert stream.jumps == jumps, times
    stream.begin()
    stream.see(0.0, 9.0)
    assert stream.jumps == 0, "another life has another time"


def test_a_slow_camera_does_not_leap() -> None:
    stream = StreamTime()
    for n in range(10):
        stream.see(n * 30.0, n * 30.0)  # one picture in half a minute
    assert stream.jumps == 0
