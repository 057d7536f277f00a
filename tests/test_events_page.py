"""The wire as it is documented: its schema, its examples, and what stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.pages.events import KINDS, wire_schema
from streamer.events import Reader, decode, decode_camera, encode
from streamer.heartbeat_events import decode_heartbeat
from streamer.track_events import decode_track

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "data" / "events"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json") if path.stem != "version_1")
FIRST: dict[str, dict[str, Any]] = json.loads((GOLDEN / "version_1.json").read_text())
"""The fields that version 1 had when it was first published. Never edit it; begin version 2."""

READERS: dict[str, Reader[Any]] = {
    "streamer.faces/1": decode, "streamer.camera/1": decode_camera,
    "streamer.track/1": decode_track, "streamer.heartbeat/1": decode_heartbeat,
}  # fmt: skip


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "events.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def read(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_published_is_valid_and_is_still_read(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    shown = read(name)
    validator.validate(shown)
    reader = READERS[shown["schema"]]
    event = reader(json.dumps(shown).encode())
    if name != "unknown_fields":  # it is written today as it was then
        assert encode(event) == (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    assert reader(json.dumps(shown | {"to_come": [{"x": 1}]}).encode()) == event


def test_every_kind_has_an_example() -> None:
    assert {read(name)["schema"] for name in NAMES} == set(READERS)
    assert {example for _, example, _ in KINDS.values()} <= set(NAMES)


def test_messagepack_is_as_it_was() -> None:
    data = (GOLDEN / "two_faces.msgpack").read_bytes()
    event = decode((GOLDEN / "two_faces.json").read_bytes())
    assert decode(data) == event
    assert encode(event, "msgpack") == data


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("failed", {"faces": []}),
        ("nobody", {"faces": None}),
        ("two_faces", {"seq": 0}),
        ("two_faces", {"status": "skipped"}),
        ("track_left", {"kind": "gone"}),
        ("camera", {"state": "asleep"}),
        ("heartbeat", {"last": {"faces/door/": -1}}),
        ("heartbeat", {"schema": "streamer.heartbeat/2"}),
    ],
)
def test_what_is_not_an_event_is_not_valid(
    name: str, change: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(read(name) | change)


@pytest.mark.parametrize("kind", sorted(FIRST))
def test_fields_are_only_added(kind: str) -> None:
    now = wire_schema()["$defs"][kind]
    for name, spec in FIRST[kind]["properties"].items():
        assert now["properties"].get(name) == spec, f"{kind}.{name} changed: begin version 2"
    # What is required is what the first had: a field that was added may be missing.
    assert set(now["required"]) == set(FIRST[kind]["required"])


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    for definition in wire_schema()["$defs"].values():
        for field in definition["properties"]:
            assert f"| `{field}` |" in page
