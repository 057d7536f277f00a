import stat
import threading
from pathlib import Path

import onnxruntime
import pytest

from streamer.inference.graph import Ports, fold
from streamer.inference.graph_cache import folded, kept
from tests.inference.pictures import model_bytes

PORTS = Ports("input", "loc", "conf", "landmarks")
SIZE = {"height": 64, "width": 96}


class Maker:
    """Gives bytes and counts how often it was asked."""

    def __init__(self, content: bytes = b"made") -> None:
        self.content = content
        self.calls = 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.content


def only_file(folder: Path) -> Path:
    [file] = folder.iterdir()
    return file


def test_a_folded_network_is_kept_and_is_what_fold_gives(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "deep" / "cache"
    expected = fold(model_bytes(), PORTS, **SIZE)
    assert folded(model_bytes(), PORTS, folder, **SIZE) == expected
    monkeypatch.setattr("streamer.inference.graph_cache.fold", None)  # nobody may call it now
    assert folded(model_bytes(), PORTS, folder, **SIZE) == expected


def test_the_file_is_an_onnx_model_of_its_own(tmp_path) -> None:
    folded(model_bytes(), PORTS, tmp_path, **SIZE)
    session = onnxruntime.InferenceSession(
        only_file(tmp_path).read_bytes(), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].name == "pixels"
    assert "sha256" in session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("other", [{"height": 96}, {"width": 64}])
def test_every_argument_has_a_file_of_its_own(tmp_path, other) -> None:
    folded(model_bytes(), PORTS, tmp_path, **SIZE)
    changed = folded(model_bytes(), PORTS, tmp_path, **{**SIZE, **other})
    assert changed == fold(model_bytes(), PORTS, **{**SIZE, **other})
    assert len(list(tmp_path.iterdir())) == 2


def test_another_model_another_version_and_other_ports_too(tmp_path, monkeypatch) -> None:
    folded(model_bytes(), PORTS, tmp_path, **SIZE)
    assert kept(tmp_path, "folded", b"another", Maker()) == b"made"
    assert kept(tmp_path, "folded", b"one more", Maker(b"more")) == b"more"
    monkeypatch.setattr("streamer.inference.graph_cache.VERSION", 999)
    folded(model_bytes(), PORTS, tmp_path, **SIZE)
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setattr("streamer.inference.graph_cache.fold", lambda *_, **__: b"other ports")
    ports = PORTS._replace(loc="boxes")
    assert folded(model_bytes(), ports, tmp_path, **SIZE) == b"other ports"


def test_without_a_folder_it_is_made_anew(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folded(model_bytes(), PORTS, None, **SIZE) == fold(model_bytes(), PORTS, **SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda content: content + b"\0",
        lambda content: b"\0" * len(content),
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["empty", "cut", "cut short", "longer", "zeros", "first byte", "last byte"],
)
def test_a_damaged_file_is_made_anew(tmp_path, damage) -> None:
    kept(tmp_path, "name", b"model", Maker())
    file = only_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = Maker()
    assert kept(tmp_path, "name", b"model", again) == b"made"
    assert again.calls == 1
    assert only_file(tmp_path).read_bytes() == whole
    assert kept(tmp_path, "name", b"model", again) == b"made"
    assert again.calls == 1


def test_a_folder_in_the_way_costs_only_time(tmp_path) -> None:
    kept(tmp_path, "name", b"model", Maker())
    file = only_file(tmp_path)
    file.unlink()
    file.mkdir()
    again = Maker()
    for _ in range(2):
        assert kept(tmp_path, "name", b"model", again) == b"made"
    assert again.calls == 2
    assert list(tmp_path.iterdir()) == [file]  # and leaves no part behind


def test_so_does_a_cache_that_is_a_file(tmp_path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    assert kept(tmp_path / "cache", "name", b"model", Maker()) == b"made"


def test_a_maker_that_fails_leaves_nothing(tmp_path) -> None:
    def fail() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kept(tmp_path, "name", b"model", fail)
    assert not list(tmp_path.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path) -> None:
    """Readers and writers at once: each gets the whole content."""
    content = bytes(range(256)) * 4000
    found: list[bytes] = []

    def work() -> None:
        found.extend(kept(tmp_path, f"name{n}", b"model", Maker(content)) for n in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert set(found) == {content}
    assert len(list(tmp_path.iterdir())) == 10


def test_a_file_is_for_its_owner_alone(tmp_path) -> None:
    kept(tmp_path, "name", b"model", Maker())
    assert not stat.S_IMODE(only_file(tmp_path).stat().st_mode) & 0o077
