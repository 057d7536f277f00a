"""What a subscription says besides events."""

import msgspec

from streamer.client.notices import Gap, Restarted, Stale


def test_a_gap_knows_its_camera_and_its_size() -> None:
    gap = Gap("faces/door/", "b", 3, 7)
    assert (gap.camera, gap.count) == ("door", 5)


def test_notices_are_told_apart_as_json() -> None:
    for notice, name in (
        (Gap("faces/door/", "b", 3, 7), "gap"),
        (Restarted("a", "b"), "restarted"),
        (Stale(3.0, None), "stale"),
    ):
        assert msgspec.json.decode(msgspec.json.encode(notice))["notice"] == name
