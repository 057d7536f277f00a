"""The counters of a bridge, and its waits."""

from __future__ import annotations

import pytest

from streamer.publish.link import FIRST_PAUSE_S, LONGEST_PAUSE_S, Link, pause_s


def test_waits_grow_and_are_spread_and_bounded() -> None:
    assert all(0 <= pause_s(1) <= FIRST_PAUSE_S for _ in range(100))
    many = [pause_s(100_000) for _ in range(300)]
    assert 0 <= min(many) < LONGEST_PAUSE_S / 2 < max(many) <= LONGEST_PAUSE_S
    assert all(pause_s(50, longest_s=1.0) <= 1.0 for _ in range(100))


def test_everything_is_counted_and_trouble_is_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    link = Link("mqtt")
    for _ in range(3):
        link.down("no broker")
    link.up()
    link.up()
    link.delivered(2)
    link.retried()
    link.waiting(4)
    link.lost("queue_full", 3)
    link.lost("queue_full", 0)
    status = link.status()
    assert (status.connected, status.connects, status.delivered) == (True, 1, 2)
    assert (status.retries, status.waiting, status.lost) == (1, 4, {"queue_full": 3})
    assert status.trouble == ""
    link.down("lost")
    assert link.status().trouble == "lost"
    assert not link.connected
    said = capsys.readouterr()
    assert (said.out + said.err).count("no broker") == 1
