"""What is true of every camera, as topics: no failure looks like "no faces"."""

from __future__ import annotations

import json

from streamer.publish.mqtt_board import STALE_S, Board
from streamer.types import STATES
from tests.publish.news import beat, change, failure, result


def board(**options: object) -> Board:
    defaults = {"boot_id": "b", "off_delay_s": 5.0, "pause_s": 1.0}
    return Board("home", **{**defaults, **options})  # type: ignore[arg-type]


def taken(board: Board) -> dict[str, str]:
    return {
        name.removeprefix("home/"): value.decode()
        for name, value in board.take(1000)
        if not name.endswith("/camera")
    }


def test_a_camera_without_a_result_yet_is_offline_and_has_no_count() -> None:
    one = board()
    one.change(change("door"), 10.0)
    assert taken(one) == {"door/state": "live", "door/availability": "offline"}
    one.outcome(failure("door"), 11.0)
    assert taken(one) == {}
    one.outcome(result("door"), 12.0)
    assert taken(one) == {
        "door/presence": "OFF", "door/count": "0", "door/availability": "online",
    }  # fmt: skip


def test_presence_begins_at_once_and_ends_after_the_delay() -> None:
    one = board()
    one.change(change("door"), 10.0)
    one.outcome(result("door"), 10.0)
    taken(one)
    one.outcome(result("door", [1]), 10.1)
    assert taken(one) == {"door/presence": "ON"}  # the count was told a moment ago
    one.outcome(result("door"), 11.5)
    assert taken(one) == {}  # and is what it was; presence goes on
    one.outcome(result("door", [1, 2]), 13.0)
    assert taken(one) == {"door/count": "2"}
    one.outcome(result("door"), 14.5)
    assert taken(one) == {"door/count": "0"}
    one.beat(beat("door"), 17.9)
    assert taken(one) == {}
    one.beat(beat("door"), 18.0)
    assert taken(one) == {"door/presence": "OFF"}


def test_who_stays_is_present_however_rare_the_results_are() -> None:
    one = board(off_delay_s=0.0)
    one.change(change("door"), 10.0)
    one.outcome(result("door", [1]), 10.0)
    assert taken(one)["door/presence"] == "ON"
    one.beat(beat("door"), 25.0)
    assert taken(one) == {}


def test_a_camera_that_is_down_is_offline_and_never_without_faces() -> None:
    one = board()
    one.change(change("door"), 10.0)
    one.outcome(result("door", [1]), 10.0)
    taken(one)
    one.change(change("door", "backing_off"), 11.0)
    assert taken(one) == {"door/state": "backing_off", "door/availability": "offline"}
    one.beat(beat("door"), 100.0)
    assert taken(one) == {}
    one.change(change("door"), 101.0)
    assert taken(one) == {"door/state": "live"}  # offline until there is a result again
    one.outcome(result("door"), 102.0)
    assert taken(one)["door/availability"] == "online"


def test_a_camera_from_which_no_result_comes_is_offline() -> None:
    one = board()
    one.change(change("door"), 10.0)
    one.outcome(result("door", [1]), 10.0)
    taken(one)
    one.beat(beat("door"), 10.0 + STALE_S - 0.1)
    assert taken(one) == {}
    one.beat(beat("door"), 10.0 + STALE_S)
    assert taken(one) == {"door/availability": "offline"}


def test_a_removed_camera_leaves_no_topic_behind() -> None:
    one = board(discovery="homeassistant", version="1")
    one.change(change("door"), 10.0)
    one.outcome(result("door"), 10.0)
    told = [name for name, _ in one.take(1000)]
    one.beat(beat(), 11.0)
    gone = dict(one.take(1000))
    assert set(gone) == set(told)
    assert set(gone.values()) == {b""}
    one.again()
    assert len(one) == 0


def test_all_is_told_again_with_its_newest_value() -> None:
    one = board()
    one.change(change("door"), 10.0)
    one.outcome(result("door", [1]), 10.0)
    first = dict(one.take(1000))
    one.again()
    one.change(change("door", "stalled"), 11.0)
    assert len(one) == len(first)
    assert taken(one)["door/state"] == "stalled"
    one.again()
    assert len(one.take(2)) == 2
    assert len(one) == len(first) - 2


def test_home_assistant_is_told_of_three_entities() -> None:
    one = Board(
        "site/one",
        boot_id="b",
        off_delay_s=5.0,
        pause_s=1.0,
        discovery="homeassistant",
        version="9",
    )
    one.change(change("door"), 10.0)
    found = {
        name: json.loads(value)
        for name, value in one.take(1000)
        if name.startswith("homeassistant/")
    }
    node = "site_one_door_48fc43ed"
    face = found[f"homeassistant/binary_sensor/{node}/face/config"]
    faces = found[f"homeassistant/sensor/{node}/faces/config"]
    state = found[f"homeassistant/sensor/{node}/state/config"]
    assert len(found) == 3
    assert len({entity["unique_id"] for entity in found.values()}) == 3
    assert face["device_class"] == "occupancy"
    assert face["state_topic"] == "site/one/door/presence"
    assert {a["topic"] for a in face["availability"]} == {
        "site/one/status", "site/one/door/availability",
    }  # fmt: skip
    assert face["availability_mode"] == "all"
    assert faces["state_topic"] == "site/one/door/count"
    assert state["options"] == list(STATES)
    assert state["json_attributes_topic"] == "site/one/door/camera"
    assert {e["device"]["identifiers"][0] for e in found.values()} == {node}


def test_two_streamers_have_no_entity_in_common() -> None:
    ids = []
    for base, camera in (("a/b", "c_d"), ("a", "b_c_d"), ("a_b", "c_d")):
        one = Board(base, boot_id="b", off_delay_s=5.0, pause_s=1.0, discovery="homeassistant")
        one.change(change(camera), 10.0)
        ids += [json.loads(v)["unique_id"] for t, v in one.take(99) if t.startswith("home")]
    assert len(set(ids)) == len(ids) == 9
