"""A running program follows its configuration file."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from streamer.config import Config, load_config
from streamer.reload import Fingerprint, fingerprint, follow
from streamer.yaml_file import Unreadable
from tests.e2e.program import free_port, get, running, wait_until_up

SMALL = '{source: "synthetic:?fps=10&size=320x192", input_size: 320}'


def written(http: int, cameras: str, **more: str) -> str:
    lines = [f'http: {{bind: "127.0.0.1:{http}"}}', "publish: {zeromq: null}"]
    return "\n".join([*lines, *(f"{k}: {v}" for k, v in more.items()), f"cameras: {cameras}"])


ONE = "cameras: {a: {source: 'demo:'}}\n"
TWO = "cameras: {a: {source: 'demo:'}, b: {source: 'demo:'}}\n"
EVERY_S = 0.02


class Following:
    """Follows a file on a thread of its own; ``came`` gets the cameras that each edit gives."""

    def __init__(self, path: Path, seen: Fingerprint) -> None:
        self.came: queue.Queue[list[str]] = queue.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=follow, args=(path, self._apply, {}, self._stop),
            kwargs={"seen": seen, "every_s": EVERY_S},
        )  # fmt: skip

    def _apply(self, config: Config) -> dict[str, list[str]]:
        self.came.put(sorted(config.cameras))
        return {"added": [], "removed": [], "replaced": []}

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def next(self) -> list[str]:
        return self.came.get(timeout=20)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_edit_made_before_following_begins_is_not_missed(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(ONE)
    seen = fingerprint(file)
    file.write_text(TWO)  # while the model loads
    with Following(file, seen) as following:
        assert following.next() == ["a", "b"]


def test_a_link_to_a_folder_that_is_swapped_is_followed(tmp_path: Path) -> None:
    for version, text in (("..v1", ONE), ("..v2", TWO)):  # as Kubernetes mounts a ConfigMap
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    file = tmp_path / "c.yaml"
    file.symlink_to("..data/c.yaml")
    with Following(file, fingerprint(file)) as following:
        (tmp_path / "..next").symlink_to("..v2")
        (tmp_path / "..next").rename(tmp_path / "..data")
        assert following.next() == ["a", "b"]


def test_half_a_file_is_not_applied(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    block = ["cameras:\n", *(f"  {name}: {{source: 'demo:'}}\n" for name in "abcdef")]
    file.write_text("".join(block))
    looks: list[Path] = []

    class Seen(type(file)):  # type: ignore[misc]  # a path that grows as it is looked at
        def stat(self, **options: Any) -> os.stat_result:
            looks.append(self)
            if len(looks) in (3, 6, 9, 12):
                file.write_text("".join(block[: 1 + len(looks) // 3]))
            elif len(looks) == 15:
                file.write_text("".join(block[:6]))
            found: os.stat_result = super().stat(**options)
            return found

    with Following(Seen(file), fingerprint(file)) as following:
        assert following.next() == ["a", "b", "c", "d", "e"]
        assert following.came.empty()


def test_a_pipe_in_its_place_is_told_and_following_goes_on(
    tmp_path: Path, logged: list[Any]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(ONE)
    with Following(file, fingerprint(file)) as following:
        file.unlink()
        os.mkfifo(file)
        until(lambda: logged)
        assert "is a pipe or a device" in logged[0]["problems"][0]
        file.unlink()
        file.write_text(TWO)
        assert following.next() == ["a", "b"]


def test_a_change_of_rights_is_an_edit(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(ONE)
    seen = fingerprint(file)
    file.chmod(0o400)
    assert fingerprint(file) != seen
    with Following(file, seen) as following:
        assert following.next() == ["a"]


def test_what_cannot_be_read_is_told_once_and_tried_again(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(ONE)
    seen = fingerprint(file)
    tries = []

    def refuse(path: Path, _: object) -> Config:
        tries.append(path)
        if len(tries) < 5:  # a mount that fails and comes back: nothing of the file changes
            raise Unreadable([f"{path}: cannot be read"])
        return load_config(path, {})

    monkeypatch.setattr("streamer.reload.load_config", refuse)
    file.write_text(TWO)
    with Following(file, seen) as following:
        assert following.next() == ["a", "b"]
    assert [line["event"] for line in logged] == ["config_refused", "config_applied"]


@pytest.mark.usefixtures("model_path")
def test_cameras_follow_the_file_and_a_wrong_edit_changes_nothing(tmp_path: Path) -> None:
    http = free_port()
    (tmp_path / "real").mkdir()
    file = tmp_path / "c.yaml"
    file.symlink_to("real/c.yaml")
    file.write_text(written(http, f"{{a: {SMALL}, b: {SMALL}}}"))

    def cameras() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(get(f"http://127.0.0.1:{http}/api/v1/status"))[
            "cameras"
        ]
        return found

    with running("run", str(file)) as program:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", program)
        until(lambda: all(camera["detect_fps"] for camera in cameras()))
        captured = cameras()[0]["ledger"]["captured"]

        replacement = tmp_path / "new.yaml"  # as editors do: write beside it, then rename
        replacement.write_text(written(http, f"{{a: {SMALL}, c: {SMALL}}}"))
        replacement.rename(file)
        until(lambda: [camera["name"] for camera in cameras()] == ["a", "c"])
        until(lambda: all(camera["detect_fps"] for camera in cameras()))
        assert cameras()[0]["ledger"]["captured"] > captured  # a went on, it did not begin anew

        for wrong in (
            written(http, f'{{a: {SMALL}, d: {{source: "rtps://u:canary@h/x"}}}}'),
            written(http, f"{{d: {SMALL}}}", device="cpu"),
            "cameras: [",
        ):
            file.write_text(wrong)
            time.sleep(4)  # longer than an edit must be still
        file.unlink()
        time.sleep(4)  # longer than an edit must be still
        assert [camera["name"] for camera in cameras()] == ["a", "c"]

        file.write_text(written(http, f"{{c: {SMALL}}}"))
        until(lambda: [camera["name"] for camera in cameras()] == ["c"])
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=20)
    assert program.returncode == 0, err
    assert err.count("config_refused") >= 3
    assert err.count("config_applied") == 2
    assert "device: cannot change while streamer runs" in err
    assert "canary" not in out + err
