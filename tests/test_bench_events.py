"""Stopped and fleeting subscribers, in short: what `make bench-events` does for minutes."""

from benchmarks.events import crowd, stop


def test_a_stopped_subscriber_hears_everything_once_and_in_order_and_the_others_too() -> None:
    found = stop(1.5)
    for said in (found["stopped"], *found["others"]):
        assert said["heard"] > 600  # a second of all cameras
        assert (said["out_of_order"], said["gaps"], said["lost"]) == (0, 0, 0)
    assert found["memory_mb"]["during"] - found["memory_mb"]["before"] < 40


def test_subscribers_that_come_and_go_leave_nothing_behind_and_disturb_nobody() -> None:
    found = crowd(4.0, most=60)
    assert found["connections"] > 100
    assert found["descriptors"][-1] > 60  # they were there
    assert found["descriptors_after"] <= found["descriptors_before"] + 1  # the pipe to the crowd
    assert found["memory_mb"][-1] - found["memory_mb"][3] < 20
    said = found["steady_subscriber"]
    assert (said["out_of_order"], said["gaps"], said["lost"]) == (0, 0, 0)
