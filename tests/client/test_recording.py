"""Recordings: what is written comes back, and what is damaged says so."""

import json
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamer.client.notices import Gap
from streamer.client.recording import BadRecording, Recorder, entries
from streamer.events import Attached, Format, decode, decode_camera, encode
from tests.client.publisher import change, faces

FORMATS: tuple[Format, ...] = ("json", "msgpack")


def record(path: Path, *, max_bytes: int = 10**6, count: int = 3) -> list[bool]:
    taken = []
    with Recorder(path, max_bytes=max_bytes, began_at=10.0, wall_clock=lambda: 1.7e9) as recorder:
        taken.append(recorder.take(decode_camera(change("door", 1, "b")), 10.0))
        taken.append(recorder.take(Gap("faces/door/", "b", 1, 2), 10.1))
        for seq in range(3, 3 + count):
            taken.append(recorder.take(decode(faces("door", seq, "b")), 10.5 + seq))
    return taken


def test_what_was_recorded_comes_back_with_its_times(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert record(path) == [True] * 5
    found = list(entries(path))
    assert [(one.at_s, one.topic) for one in found] == [
        (0.0, b"camera/door/"), (3.5, b"faces/door/"), (4.5, b"faces/door/"), (5.5, b"faces/door/"),
    ]  # fmt: skip
    assert [one.fields["seq"] for one in found] == [1, 3, 4, 5]
    assert decode(json.dumps(found[-1].fields).encode()).camera == "door"


def test_what_a_later_version_says_more_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    record(path, count=1)
    path.write_text(path.read_text().replace('"seq":3,', '"seq":3,"to_come":[1],'))
    assert list(entries(path))[-1].fields["to_come"] == [1]


def test_a_recording_has_a_bound_and_says_that_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "file"
    taken = record(path, max_bytes=3000, count=20)
    assert taken == sorted(taken, reverse=True)
    assert not taken[-1]
    assert path.stat().st_size <= 3000
    assert len(list(entries(path))) == sum(taken) - 1


def test_a_file_that_cannot_be_written_ends_at_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Recorder(path, max_bytes=10**6, began_at=0.0, wall_clock=lambda: 1.7e9) as recorder:
        assert recorder.take(decode(faces("door", 1, "b")), 0.0)
        whole = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, hard))  # as a full disk does
        try:
            assert not recorder.take(decode(faces("door", 2, "b")), 1.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        assert recorder.ended == f"{path} cannot be written (File too large)"
        assert not recorder.take(decode(faces("door", 3, "b")), 2.0)  # though there were room again
    assert path.read_bytes() == whole
    assert len(list(entries(path))) == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        record(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: "", "line 1 is no recording"),
        (lambda text: "hello\n" + text, "line 1 is no recording"),
        (lambda text: text.replace("recording/1", "recording/2"), "line 1 is no recording"),
        (lambda text: text[:-20], "line 6 is cut off; all before it is good"),
        (lambda text: text.replace('"at":4.5', '"at":0.5'), "line 5 is before"),
        (lambda text: text.replace('"at":4.5', '"at":-1'), "line 5 is damaged"),
        (lambda text: text.replace('"at":4.5', '"at":1e999'), "line 5 is damaged"),
        (lambda text: text.replace('"at":4.5', '"at":1e300'), "line 5 is more than 366 days after"),
        (lambda text: text.replace('"at":0.0', '"at":4e7'), "line 2 is more than 366 days after"),
        (lambda text: text.replace('"seq":4', '"seq":"x"'), "line 5 is not an event"),
        (lambda text: text.replace('"seq":4', '"seq":9007199254740992'), "line 5 is not an event"),
        (lambda text: text.replace('"seq":4', '"seq":'), "line 5 is damaged"),
        (
            lambda text: text.replace('topic":"faces/door/', 'topic":"faces/yard/'),
            "the topic names",
        ),
    ],
)
def test_a_damaged_file_says_where_in_one_sentence(tmp_path: Path, damage, why: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "file"
    record(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(BadRecording) as caught:
        list(entries(path))
    assert why in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.integers(0, 1500), st.integers(0, 60))
def test_any_damage_is_read_or_told(tmp_path: Path, junk: bytes, at: int, cut: int) -> None:
    path = tmp_path / "file"
    if not path.exists():
        record(path)
        (tmp_path / "good").write_bytes(path.read_bytes())
    good = (tmp_path / "good").read_bytes()
    path.write_bytes(good[:at] + junk + good[at + cut :])
    try:
        list(entries(path))
    except BadRecording:
        pass


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(BadRecording, match="is no regular file; give what"):
            next(entries(path))


def test_pictures_come_back_as_bytes_for_either_format(tmp_path: Path) -> None:
    path, jpeg = tmp_path / "file", bytes(range(256))
    event = replace(decode(faces("door", 1, "b")), pictures=(Attached(None, 64, 48, jpeg),))
    with Recorder(path, max_bytes=10**6, began_at=0.0, wall_clock=lambda: 1.7e9) as recorder:
        recorder.take(event, 0.0)
    (entry,) = entries(path)
    for form in FORMATS:
        assert decode(encode(entry.fields, form)) == event
