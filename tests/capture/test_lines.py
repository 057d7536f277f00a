from __future__ import annotations

from structlog.testing import capture_logs

from streamer.capture.lines import BURST, EVERY_S, Lines
from tests.capture.clocks import Clock


def test_a_line_is_written_with_what_it_always_carries() -> None:
    with capture_logs() as lines:
        Lines(clock=Clock(), camera="door", url="rtsp://a/b").say("info", "camera_live", epoch=3)
    assert lines == [
        {"event": "camera_live", "log_level": "info", "stage": "capture", "camera": "door",
         "url": "rtsp://a/b", "epoch": 3}
    ]  # fmt: skip


def test_too_many_lines_are_left_out_and_counted_and_the_newest_is_kept() -> None:
    clock = Clock()
    camera = Lines(clock=clock)
    with capture_logs() as lines:
        for n in range(BURST + 10):
            camera.say("warning", "camera_lost", n=n)
        assert [line["n"] for line in lines] == list(range(BURST))
        assert all("left_out" not in line for line in lines)
        camera.catch_up()
        assert len(lines) == BURST, "no room yet"
        clock.now += EVERY_S
        camera.catch_up()
        camera.catch_up()
    assert len(lines) == BURST + 1
    assert (lines[-1]["n"], lines[-1]["left_out"]) == (BURST + 9, 9)


def test_a_flapping_camera_writes_two_lines_a_minute() -> None:
    clock = Clock()
    camera = Lines(clock=clock)
    with capture_logs() as lines:
        for n in range(3600):
            clock.now += 1
            camera.say("info", "camera_live" if n % 2 else "camera_lost")
    assert len(lines) <= BURST + 3600 / EVERY_S + 1
    assert len(lines) + sum(line.get("left_out", 0) for line in lines) >= 3600 - EVERY_S


def test_the_last_word_is_said_anyway() -> None:
    camera = Lines(clock=Clock())
    with capture_logs() as lines:
        for _ in range(BURST + 4):
            camera.say("warning", "camera_lost")
        camera.say("info", "camera_stopped")
        camera.catch_up(anyway=True)
    assert (lines[-1]["event"], lines[-1]["left_out"]) == ("camera_stopped", 4)
