"""Configuration: what is accepted, and that every fault is told with its path and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import (
    Config,
    Http,
    config_schema,
    load_config,
    parse_camera,
    parse_config,
)
from streamer.errors import ConfigError

SECRET = "hunter2-canary"
DOOR = {"source": f"rtsp://user:{SECRET}@cam.example/stream"}


def problems_of(values: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, environ or {})
    assert SECRET not in str(caught.value)
    return list(caught.value.problems)


def test_only_cameras_are_required_and_defaults_are_the_documented_ones() -> None:
    config = parse_config({"cameras": {"door": DOOR}}, {})
    assert config.model.name == "retinaface_mnet025"
    assert (config.model.input_size, config.model.confidence, config.model.nms) == (640, 0.6, 0.4)
    assert config.model.max_faces == 200
    assert config.device == "auto"
    assert config.publish.zeromq is not None
    assert config.publish.zeromq.bind == "tcp://127.0.0.1:5555"
    assert config.http is not None
    assert config.http.bind == "127.0.0.1:8080"
    assert (config.cameras["door"].every, config.cameras["door"].max_fps) == (1, None)


def test_the_whole_shape_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        """
cameras:
  door: {source: "rtsp://cam.example/x", every: 1, max_fps: null, input_size: null}
model: {name: retinaface_mnet025, input_size: 640, confidence: 0.6, nms: 0.4, max_faces: 200}
device: auto
publish: {zeromq: {bind: "tcp://127.0.0.1:5555"}}
http: {bind: "127.0.0.1:8080"}
"""
    )
    assert load_config(file, {}) == parse_config(
        {"cameras": {"door": {"source": "rtsp://cam.example/x"}}}, {}
    )


def test_every_fault_is_listed_with_its_path() -> None:
    found = problems_of(
        {
            "cameras": {
                "door": {**DOOR, "evry": 2},
                "Yard!": DOOR,
                "gate": {"source": "rtps://x/y", "every": 0},
            },
            "model": {"input_size": 650, "confidence": 2},
            "device": "gpu",
            "http": {"bind": "8080"},
            "colour": "red",
        }
    )
    text = "\n".join(found)
    for path in (
        "cameras.door.evry: unknown key; did you mean every?",
        "cameras.<key 2>: a camera's name",
        "cameras.gate.source: ",
        "cameras.gate.every: ",
        "model.input_size: must be a multiple of 32; 640 and 672",
        "model.confidence: ",
        "device: must be auto, cpu, cuda",
        'http.bind: must be "host:port"',
        "<key 5>: unknown key",
    ):
        assert path in text, (path, text)
    assert len(found) == 9


def test_a_key_that_may_be_half_a_password_is_told_by_its_place() -> None:
    half = f"G3heim{SECRET}@127.0.0.1/stream2"
    url = f"rtsp://u:{SECRET}@h/x"
    for values, says in (
        ({"cameras": {"a": {"source": "rtsp://viewer:pa", half: None}}},
         "cameras.a.<key 2>: unknown key (not shown, it may be part of a password; "),
        ({"cameras": {"a": {"source": "demo:", "hunter2": 1}}}, "cameras.a.<key 2>: "),
        ({"cameras": {url: {"source": "webcam:x"}}}, "cameras.<key 1>.source: "),
        ({"cameras": {url: {"source": "demo:"}}}, "cameras.<key 1>: a camera"),
        ({"cameras": {url: None}}, "cameras.<key 1>: must be a section"),
        ({"cameras": {f"u:{SECRET}@h": {"source": "${GONE}"}}}, "cameras.<key 1>.source: the env"),
        ({"cameras": {"a": DOOR}, url: {}}, "<key 2>: unknown key"),
        ({"cameras": {"a": DOOR}, "publish": {half: {}}}, "publish.<key 1>: unknown key"),
        ({"cameras": {"a": DOOR}, "http": {"tokens": {half: {}}}}, "http.tokens.<key 1>: unknown"),
    ):  # fmt: skip
        found = problems_of(values)
        assert any(problem.startswith(says) for problem in found), found
        assert "hunter2" not in str(found)


def test_such_a_key_is_told_by_its_line_too(tmp_path: Path) -> None:
    file = tmp_path / "streamer.yaml"
    file.write_text(f"""
base: &base
  {SECRET}: 1
cameras:
  door:
    source: "demo:"
    {SECRET},x: 1
  u@h:
    every: 2
  yard: {{source: "demo:", <<: *base, evry: 1}}
http:
  7: 1
""")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {"STREAMER__CAMERAS__YARD__EVERY": "2"})
    found = [problem.partition(":")[0] for problem in caught.value.problems]
    assert sorted(found) == [
        "<key 1> (line 2)", "cameras.<key 2> (line 8)", "cameras.<key 2>.source (line 8)",
        "cameras.door.<key 2> (line 7)", "cameras.yard.<key 1> (line 3)", "cameras.yard.evry",
        "http.<key 1>",
    ]  # fmt: skip
    assert SECRET not in str(caught.value)


def test_names_of_cameras_are_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "streamer.yaml"
    file.write_text("cameras: {a: {source: 'demo:'}}")
    assert [type(name) for name in load_config(file, {}).cameras] == [str]


def test_a_key_from_the_environment_is_told_as_it_is_named() -> None:
    found = problems_of({"cameras": {"a": DOOR}}, {"STREAMER__HTTP__COLOUR": "red"})
    assert found == [f"http.colour: unknown key; the keys here are {', '.join(Http.model_fields)}"]


def test_a_camera_over_http_does_not_repeat_a_strange_key() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_camera("x", {"source": "demo:", "G3heimWort": 1, "evry": 2})
    text = str(caught.value)
    assert "cameras.x.<key 2>: unknown key" in text
    assert "cameras.x.evry: unknown key; did you mean every?" in text
    assert "G3heim" not in text


@pytest.mark.parametrize(
    "values", [{}, {"cameras": {}}, {"cameras": None}, {"cameras": []}, {"cameras": {"a": None}}]
)
def test_no_camera_is_one_clear_sentence(values: dict[str, Any]) -> None:
    assert all(p.startswith("cameras") for p in problems_of(values))


def test_the_environment_wins_over_the_file() -> None:
    config = parse_config(
        {"cameras": {"door": DOOR}, "model": {"confidence": 0.5, "input_size": 320}},
        {
            "STREAMER__MODEL__CONFIDENCE": "0.7",
            "STREAMER__DEVICE": "cpu",
            "STREAMER__CAMERAS__YARD__SOURCE": "webcam:0",
            "STREAMER__CAMERAS__DOOR__EVERY": "4",
        },
    )
    assert (config.model.confidence, config.model.input_size) == (0.7, 320)
    assert config.device == "cpu"
    assert config.cameras["yard"].source == "webcam:0"
    assert config.cameras["door"].every == 4


def test_an_unknown_variable_is_refused_by_its_name() -> None:
    found = problems_of({"cameras": {"door": DOOR}}, {"STREAMER__MODLE__NAME": SECRET})
    assert any(p.startswith("STREAMER__MODLE__NAME: unknown setting") for p in found)


def test_null_in_the_environment_switches_a_section_off() -> None:
    cameras = {"cameras": {"door": DOOR}}
    assert parse_config(cameras, {"STREAMER__HTTP": "null"}).http is None
    assert parse_config(cameras, {"STREAMER__PUBLISH__ZEROMQ": "null"}).publish.zeromq is None
    both = {"STREAMER__HTTP": "null", "STREAMER__HTTP__BIND": "127.0.0.1:9"}
    on = parse_config(cameras, both).http  # the longer path is the more exact wish
    assert on is not None
    assert on.bind == "127.0.0.1:9"


def test_a_variable_that_cannot_be_read_is_named() -> None:
    for name, value in (("MODEL", "x"), ("MODEL", '{"a"'), ("HTTP__ALLOWED_HOSTS", SECRET)):
        found = problems_of({"cameras": {"door": DOOR}}, {f"STREAMER__{name}": value})
        assert found[0].startswith(f"STREAMER__{name}: "), found


def test_a_model_nobody_knows_is_a_fault_of_the_configuration() -> None:
    found = problems_of({"cameras": {"door": DOOR}, "model": {"name": "nope"}})
    assert found[0].startswith(
        "model.name: there is no model 'nope'; use auto or one of retinaface_mnet"
    )


def test_a_hash_may_be_written_in_capitals() -> None:
    config = parse_config({"cameras": {"door": DOOR}, "model": {"sha256": "AB" * 32}}, {})
    assert config.model.sha256 == "ab" * 32


def test_variables_inside_values() -> None:
    config = parse_config(
        {"cameras": {"door": {"source": "rtsp://u:${PW}@${HOST:-cam.example}/x"}}}, {"PW": SECRET}
    )
    assert config.cameras["door"].source == f"rtsp://u:{SECRET}@cam.example/x"
    assert config.cameras["door"].url.reveal().count(SECRET) == 1
    found = problems_of({"cameras": {"door": {"source": "rtsp://u:${PW}@h/x"}}})
    assert found[0].startswith("cameras.door.source: the environment variable PW is not set")


def test_no_way_of_printing_shows_the_password() -> None:
    config = parse_config({"cameras": {"door": DOOR}}, {})
    assert SECRET not in config.model_dump_json()
    assert SECRET not in str(config.cameras["door"].url)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "other"]), _JSON, max_size=4))
def test_any_values_give_a_config_or_problems(values: dict[str, Any]) -> None:
    try:
        parse_config(values, {})
    except ConfigError as error:
        assert error.problems


def test_the_schema_is_json_and_names_every_section() -> None:
    schema = json.loads(json.dumps(config_schema()))
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["required"] == ["cameras"]


@pytest.mark.parametrize("name", ["demo", "rtsp", "webcam", "gpu"])
def test_the_shipped_configurations_are_good(name: str) -> None:
    path = Path(__file__).parent.parent / "configs" / f"{name}.yaml"
    passwords = dict.fromkeys(("DOOR_PASSWORD", "YARD_PASSWORD", "CAMERA_PASSWORD"), "x")
    assert load_config(path, passwords).cameras


@pytest.mark.parametrize(("count", "says"), [(0, "at least one item"), (17, "at most 16 items")])
def test_lists_of_other_things_are_not_said_to_hold_cameras(count: int, says: str) -> None:
    nats = {"servers": [f"nats://host:{port}" for port in range(4222, 4222 + count)]}
    with pytest.raises(ConfigError) as caught:
        parse_config({"cameras": {"a": {"source": "demo:"}}, "publish": {"nats": nats}}, {})
    assert caught.value.problems == (f"publish.nats.servers: must have {says}",)
