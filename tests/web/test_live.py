from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamer.web.live
from streamer.types import CameraChange
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Privacy
from streamer.web.live import MAX_WIDTH, MIN_WIDTH, LiveView
from tests.web.synthetic import outcome, pixels


class CountingPicture:
    """Counts conversions."""

    def __init__(self, width=320, height=180):
        self.width, self.height = width, height
        self.asked = []

    def bgr(self, width=None, height=None):
        self.asked.append((width, height))
        return np.zeros((height or self.height, width or self.width, 3), np.uint8)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def decoded(shown):
    return cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(clock):
    return LiveView(["door", "yard"], clock=clock)


@pytest.fixture
def encodes(monkeypatch):
    """The pictures encoded, in order."""
    made = []
    real = streamer.web.live.encode

    def encode(image, quality):
        made.append(image.shape)
        return real(image, quality)

    monkeypatch.setattr(streamer.web.live, "encode", encode)
    return made


def test_writing_converts_draws_and_encodes_nothing(view, clock, encodes):
    picture = CountingPicture()
    for n in range(100):
        view.write(outcome("door", n, at=clock.now, picture=picture))
    assert picture.asked == []
    assert encodes == []


def test_writing_costs_microseconds(view, clock):
    one = outcome("door", at=clock.now, picture=CountingPicture())
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            view.write(one)
        spent.append((time.perf_counter() - began) / 1000)
    assert min(spent) < 100e-6


def test_a_picture_is_made_once_for_all_who_ask_at_once(view, clock, encodes):
    view.write(outcome("door", 5, at=clock.now))
    together = threading.Barrier(10)
    got = []

    def ask():
        together.wait()
        got.append(view.jpeg("door", 320))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encodes) == 1
    assert len({id(shown) for shown in got}) == 1
    assert got[0].frame == 5


def test_each_width_and_each_frame_is_made_once(view, clock, encodes):
    view.write(outcome("door", 1, at=clock.now))
    for width in (160, 160, 320, 161, 320):
        view.jpeg("door", width)
    assert encodes == [(90, 160, 3), (180, 320, 3)]
    view.write(outcome("door", 2, at=clock.now))
    assert view.jpeg("door", 160).frame == 2
    assert len(encodes) == 3


def test_each_quality_and_boxes_or_none_is_made_once(view, clock, encodes):
    view.write(outcome("door", 1, at=clock.now))
    made = {
        (quality, boxes): view.jpeg("door", 320, quality=quality, boxes=boxes)
        for quality in (10, 78, 80, 95)
        for boxes in (True, False)
    }
    assert len(encodes) == 6, "78 is 80"
    assert made[78, True] is made[80, True]
    assert len(made[10, True].jpeg) < len(made[95, True].jpeg)
    assert made[80, True].jpeg != made[80, False].jpeg
    assert made[80, True].found == made[80, False].found


def test_pictures_are_numbered_for_each_camera(view, clock):
    for n, camera in enumerate(("door", "yard", "yard", "door")):
        view.write(outcome(camera, n, at=clock.now))
    assert (view.jpeg("door", 160).number, view.jpeg("door", 160).sequence) == (2, 4)
    assert (view.jpeg("yard", 160).number, view.jpeg("yard", 160).sequence) == (2, 3)


def test_a_lost_camera_is_told_once_and_lost_since_it_was_live(view):
    def told():
        changed, down_at, changes = view.changes("door")
        assert changed == len(changes)
        return down_at, [(change.state, change.reason) for change in changes]

    for at, state, reason in (
        (1.0, "connecting", ""),
        (2.0, "live", ""),
        (10.0, "stalled", "stall"),
        (15.0, "backing_off", "stall"),
        (16.0, "connecting", ""),
        (17.0, "backing_off", "refused"),
        (18.0, "connecting", ""),
        (19.0, "backing_off", "refused"),
    ):
        view.write_change(CameraChange("door", state, at, 0.0, reason))
    assert told() == (
        10.0,
        [
            ("connecting", ""),
            ("live", ""),
            ("stalled", "stall"),
            ("backing_off", "stall"),
            ("backing_off", "refused"),
        ],
    )
    view.write_change(CameraChange("door", "live", 30.0, 0.0))
    assert told()[0] is None
    assert view.changes("attic") == (0, None, [])


def test_the_conversion_goes_straight_to_the_size_wanted(view, clock):
    picture = CountingPicture(1920, 1080)
    view.write(outcome("door", at=clock.now, picture=picture))
    view.jpeg("door", 640)
    assert picture.asked == [(640, 360)]


@given(
    asked=st.integers(MIN_WIDTH, MAX_WIDTH),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
)
def test_sizes_are_few_never_larger_than_the_original_and_keep_the_aspect(asked, width, height):
    view = LiveView(["door"], clock=lambda: 0.0)
    picture = CountingPicture(width, height)
    view.write(outcome("door", at=0.0, picture=picture))
    if height > 8 * width or width > 8 * height:
        return  # no camera; encoding such would only cost time
    shown = view.jpeg("door", asked)
    assert shown.width == min(width, -(-asked // 160) * 160)
    assert shown.width <= width
    assert abs(shown.height - height * shown.width / width) <= 1
    assert decoded(shown).shape == (shown.height, shown.width, 3)


def test_faces_are_drawn_where_they_are_and_the_original_stays_as_it_was(view, clock):
    original = pixels(3, width=640, height=360)
    before = original.copy()
    seen = outcome("door", 3, at=clock.now, picture=ArrayPicture(original), width=640, height=360)
    view.write(seen)
    shown = view.jpeg("door", 320)
    assert shown.faces == 1
    assert np.array_equal(original, before)
    plain = ArrayPicture(before).bgr(320, 180)
    changed = np.abs(decoded(shown).astype(int) - plain).max(axis=2) > 60
    x1, y1, x2, y2 = (seen.tracks.faces.boxes[0] / 2).round().astype(int)
    assert changed[y1 - 1 : y1 + 2, x1 + 5 : x2 - 5].any(axis=0).mean() > 0.9, "upper edge"
    assert changed[y2 - 1 : y2 + 2, x1 + 5 : x2 - 5].any(axis=0).mean() > 0.9, "lower edge"
    assert not changed[:, x2 + 60 :].any(), "nothing is drawn elsewhere"


def test_a_mode_that_is_set_holds_for_the_frame_that_is_shown_already(view, clock):
    """The JPEG of a frame is kept: not beyond a change of what is covered in it."""
    privacy = Privacy()
    bare = outcome("door", 1, at=clock.now)
    boxes = bare.tracks.faces
    covered = privacy.looked(bare.frame, boxes, clock.now)
    view.write(replace(bare, frame=covered))
    before = view.jpeg("door", 320)
    assert view.jpeg("door", 320) is before
    privacy.mode = "box"
    after = decoded(view.jpeg("door", 320, boxes=False)).astype(int)
    assert view.jpeg("door", 320).jpeg != before.jpeg
    assert np.abs(after - 48).max() < 24, "taken while nothing was noted of faces: covered whole"
    privacy.mode = "none"
    assert view.jpeg("door", 320).jpeg == before.jpeg


def test_no_points_are_drawn_on_faces_that_are_covered(view, clock):
    seen = outcome("door", 1, at=clock.now, width=640, height=360)
    privacy = Privacy("box")
    shown = privacy.looked(seen.frame, seen.tracks.faces, clock.now)
    view.write(replace(seen, frame=shown))
    x1, y1, x2, y2 = seen.tracks.faces.boxes[0].astype(int)
    part = decoded(view.jpeg("door", 640, quality=95))[y1:y2, x1:x2].astype(int)
    assert np.abs(part - 48).max() < 24, "nothing but what covers the face is inside its box"
    view.write(seen)
    part = decoded(view.jpeg("door", 640, quality=95))[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
    assert (part.max(axis=2).astype(int) - part.min(axis=2)).max() > 60, "bare, it has points"


def test_before_the_first_outcome_there_is_nothing(view):
    assert view.jpeg("door", 320) is None
    assert view.sequence("door") == 0
    assert view.words("door") == ""
    assert view.stale_in_s("door") is None


def test_a_failure_is_never_shown_as_looked_at(view, clock):
    view.write(outcome("door", 1, at=clock.now, failed=True))
    shown = view.jpeg("door", 320)
    assert shown.faces is None
    assert view.look(shown) == "failed"
    assert view.words("door").startswith("NOT LOOKED AT 2023-11-14 22:13:21")
    marked = view.jpeg("door", 320, marked=True)
    assert decoded(marked).mean() < 0.7 * decoded(shown).mean()


def test_a_picture_that_goes_stale_is_never_shown_as_live(view, clock):
    view.write(outcome("door", 1, at=clock.now))
    fresh = view.jpeg("door", 320, marked=True)
    assert view.look(fresh) == "live"
    assert view.stale_in_s("door") == pytest.approx(3.0)
    clock.now += 2.999
    assert view.jpeg("door", 320, marked=True) is fresh
    clock.now += 0.001
    assert view.look(fresh) == "stale"
    assert view.age_s(fresh) == pytest.approx(3.0)
    assert view.stale_in_s("door") is None
    marked = view.jpeg("door", 320, marked=True)
    assert marked.jpeg != fresh.jpeg
    assert decoded(marked).mean() < 0.7 * decoded(fresh).mean()
    assert view.jpeg("door", 320).jpeg == fresh.jpeg, "unmarked, the page does the dimming"
    view.write(outcome("door", 2, at=clock.now))
    assert view.look(view.jpeg("door", 320)) == "live"


def test_an_old_failure_is_stale(view, clock):
    view.write(outcome("door", 1, at=clock.now - 10, failed=True))
    assert view.look(view.jpeg("door", 320)) == "stale"
    assert view.words("door").startswith("NOT LIVE since")


def test_what_comes_late_of_a_camera_that_is_gone_is_let_go(view, clock):
    view.write(outcome("attic"))
    assert view.sequence("attic") == 0
    assert view.jpeg("attic", 320) is None
    assert view.words("attic") == ""
    assert view.stale_in_s("attic") is None


def test_cameras_come_and_go_and_the_others_keep_their_pictures(view, clock):
    view.write(outcome("door", 1, at=clock.now))
    view.show(["attic", "door"])
    assert view.cameras == ("attic", "door")
    assert view.jpeg("door", 320).frame == 1
    view.write(outcome("attic", 2, at=clock.now))
    assert view.jpeg("attic", 320).frame == 2
    view.show(["attic"])
    assert view.jpeg("door", 320) is None


def test_only_the_newest_picture_is_kept_and_close_lets_it_go(view, clock):
    pictures = [CountingPicture() for _ in range(3)]
    refs = [weakref.ref(picture) for picture in pictures]
    for n in range(3):
        view.write(outcome("door", n, at=clock.now, picture=pictures[n]))
        view.jpeg("door", 160)
    del pictures
    gc.collect()
    assert [ref() is None for ref in refs] == [True, True, False]
    view.close()
    gc.collect()
    assert refs[2]() is None
    assert view.jpeg("door", 160) is None


def test_a_write_wakes_all_who_wait_with_one_call(view, clock):
    async def scene():
        loop = asyncio.get_running_loop()
        calls = []
        real = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *a: (calls.append(a), real(*a))[1]
        waiting = [asyncio.create_task(view.wait(0)) for _ in range(10)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        writer = threading.Thread(target=view.write, args=(outcome("yard", at=clock.now),))
        writer.start()
        async with asyncio.timeout(10):
            seen = await asyncio.gather(*waiting[1:])
            assert await view.wait(0) == 1, "what was written already needs no waiting"
        writer.join()
        return seen, len(calls)

    seen, calls = asyncio.run(scene())
    assert seen == [1] * 9
    assert calls == 1
    view.write(outcome("door", at=clock.now))  # that loop is closed: nobody minds


def test_a_loop_that_closed_while_it_waited_is_nobodys_trouble(view, clock):
    async def give_up():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await view.wait(0)

    asyncio.run(give_up())
    view.write(outcome("door", at=clock.now))
    assert view.sequence("door") == 1
