"""Files of keys: made once, for this user only, and read with care."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth
from hypothesis import given
from hypothesis import strategies as st

from streamer import keys as module
from streamer.keys import BadKey, new_keys, read_allowed, read_pair, read_public


def test_a_pair_is_two_files_that_zmq_reads_and_only_this_user_reads_the_secret(
    tmp_path: Path,
) -> None:
    shown, hidden = new_keys("door", tmp_path / "keys")
    assert (shown.name, hidden.name) == ("door.key", "door.key_secret")
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o600
    assert stat.S_IMODE(hidden.parent.stat().st_mode) == 0o700
    pair = read_pair(hidden)
    assert zmq.auth.load_certificate(hidden) == (pair.public, pair.secret)
    assert zmq.auth.load_certificate(shown) == (pair.public, None)
    assert zmq.curve_public(pair.secret) == pair.public == read_public(shown)
    assert pair.secret.decode() not in shown.read_text() + repr(pair) + str(pair)


def test_what_zmq_writes_is_read(tmp_path: Path) -> None:
    shown, hidden = zmq.auth.create_certificates(tmp_path, "other")
    assert read_pair(hidden).public == read_public(shown) == read_public(hidden)
    assert read_allowed(tmp_path) == {read_public(shown): "other"}


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    _, hidden = new_keys("door", tmp_path)
    before = hidden.read_text()
    with pytest.raises(BadKey, match="exists; choose another name"):
        new_keys("door", tmp_path)
    assert hidden.read_text() == before


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a" * 64, "a b"])
def test_a_name_that_cannot_be_a_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadKey, match="a name is"):
        new_keys(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_may_be_given_as_itself(tmp_path: Path) -> None:
    public, _ = zmq.curve_keypair()
    assert read_public(public.decode()) == public


def test_a_list_has_a_key_in_each_line(tmp_path: Path) -> None:
    one, two = (zmq.curve_keypair()[0] for _ in range(2))
    path = tmp_path / "allowed"
    path.write_bytes(b"# who may listen\n\n" + one + b"  door lock\r\n" + two + b"\n")
    assert read_allowed(path) == {one: "door lock", two: ""}


def test_a_folder_has_a_key_in_each_file_and_secrets_are_passed_over(tmp_path: Path) -> None:
    new_keys("one", tmp_path)
    new_keys("two", tmp_path)
    assert sorted(read_allowed(tmp_path).values()) == ["one", "two"]
    assert list(read_allowed(tmp_path / "one.key").values()) == ["one"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has no secret key"),
        (b'secret-key = "short"', "has no secret key"),
        (b"\xff\xfe\x00", "has no secret key"),
        (b"x" * (module.MAX_FILE_BYTES + 1), "is too long"),
    ],
)
def test_what_is_no_secret_key_is_one_sentence(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "bad.key_secret"
    path.write_bytes(text)
    with pytest.raises(BadKey, match=why) as caught:
        read_pair(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match=r"No such file.*streamer keys new"):
        read_pair(tmp_path / "none")
    with pytest.raises(BadKey, match="streamer keys new"):
        read_allowed(tmp_path / "none")


def test_a_public_key_of_another_pair_is_found_out(tmp_path: Path) -> None:
    _, hidden = new_keys("a", tmp_path)
    other, _ = zmq.curve_keypair()
    pair = read_pair(hidden)
    hidden.write_bytes(hidden.read_bytes().replace(pair.public, other))
    with pytest.raises(BadKey, match="not that of its secret key") as caught:
        read_pair(hidden)
    assert pair.secret.decode() not in str(caught.value)


@given(st.binary(max_size=400))
def test_any_list_is_keys_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-list"
    path.write_bytes(text)
    try:
        allowed = read_allowed(path)
    except BadKey as error:
        assert "\n" not in str(error)
    else:
        assert all(len(key) == 40 for key in allowed)


def test_too_many_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    path = tmp_path / "allowed"
    path.write_bytes(b"\n".join(zmq.curve_keypair()[0] for _ in range(2)))
    with pytest.raises(BadKey, match="allows too many"):
        read_allowed(path)
