"""Cameras of the file and cameras asked for over HTTP, side by side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import streamer.roster
from streamer.config import Camera, Config, parse_config
from streamer.errors import ConfigError
from streamer.roster import Roster

ONE = {"source": "rtsp://10.0.0.1/a"}
TWO = {"source": "rtsp://10.0.0.2/a"}


class FakeCameras:
    """Keeps what the real one would run."""

    def __init__(self, config: Config) -> None:
        self.there: dict[str, Camera] = dict(config.cameras)
        self.retuned = 0

    def lines(self) -> list[Any]:
        return [SimpleNamespace(name=n, camera=c) for n, c in sorted(self.there.items())]

    def add(self, name: str, camera: Camera, reach: Any = None) -> None:
        if name in self.there:
            raise ConfigError([f"cameras.{name}: is there already"])
        self.there[name] = camera

    def remove(self, name: str) -> None:
        if name not in self.there:
            raise ConfigError([f"cameras.{name}: is not there"])
        del self.there[name]

    def replace(self, name: str, camera: Camera, reach: Any = None) -> None:
        self.there[name] = camera

    def retune(self) -> None:
        self.retuned += 1


def config(**cameras: Any) -> Config:
    return parse_config({"cameras": cameras}, {})


def roster(settings: Config) -> tuple[Roster, FakeCameras, list[list[str]]]:
    cameras = FakeCameras(settings)
    shown: list[list[str]] = []
    made = Roster(cameras, settings, show=lambda names: shown.append(list(names)))  # type: ignore[arg-type]
    return made, cameras, shown


def test_an_edit_changes_the_cameras_whose_entries_changed_and_no_others() -> None:
    changed, cameras, shown = roster(config(a=ONE, b=ONE, c=ONE, d=ONE))
    changed.add("x", Camera(**TWO), retune=False)  # over HTTP
    assert cameras.retuned == 0
    changed.remove("b")
    changed.replace("c", Camera(**TWO))
    done = changed.apply(config(a=ONE, b=ONE, c=ONE, e=ONE))
    assert done == {"added": ["e"], "removed": ["d"], "replaced": []}
    assert sorted(cameras.there) == ["a", "c", "e", "x"]
    assert cameras.there["c"] == Camera(**TWO)
    assert shown[-1] == ["a", "c", "e", "x"]
    # Its entry changes: what the file says now is what is.
    done = changed.apply(config(a=ONE, b=TWO, c={**ONE, "every": 2}, e=ONE, x=ONE))
    assert done == {"added": ["b"], "removed": [], "replaced": ["c", "x"]}
    assert cameras.there["x"] == Camera(**ONE)


def test_an_entry_that_goes_for_a_camera_that_is_gone_is_no_fault() -> None:
    changed, cameras, _ = roster(config(a=ONE, b=ONE))
    changed.remove("b")
    assert changed.apply(config(a=ONE)) == {"added": [], "removed": [], "replaced": []}
    assert sorted(cameras.there) == ["a"]


def test_anything_but_cameras_is_refused_whole() -> None:
    changed, cameras, _ = roster(config(a=ONE))
    other = parse_config({"cameras": {"b": ONE}, "device": "cpu"}, {})
    with pytest.raises(ConfigError, match="device: cannot change while streamer runs"):
        changed.apply(other)
    assert sorted(cameras.there) == ["a"]


def test_there_is_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamer.roster, "MAX_CAMERAS", 2)
    changed, cameras, _ = roster(config(a=ONE))
    changed.add("b", Camera(**ONE))
    with pytest.raises(ConfigError, match="there are 2; remove one first"):
        changed.add("c", Camera(**ONE))
    assert sorted(cameras.there) == ["a", "b"]
