"""`streamer keys`, and what they are for, as a user does it: two commands, a run and a watch."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.e2e.program import free_port, running, streamer


def test_keys_are_made_and_shown_and_no_secret_is(tmp_path: Path) -> None:
    made = streamer("keys", "new", "door", "--folder", str(tmp_path))
    assert made.returncode == 0, made.stderr
    hidden = (tmp_path / "door.key_secret").read_text()
    secret = hidden.split('secret-key = "')[1].split('"')[0]
    shown = streamer("keys", "show", str(tmp_path / "door.key"), str(tmp_path / "door.key_secret"))
    lines = shown.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].endswith("  door")
    assert secret not in made.stdout + made.stderr + shown.stdout + shown.stderr
    again = streamer("keys", "new", "door", "--folder", str(tmp_path))
    assert again.returncode == 2
    assert "exists; choose another name" in again.stderr


def test_an_open_door_is_not_opened_and_a_locked_one_is_for_who_has_a_key(
    tmp_path: Path, model_path: Path
) -> None:
    for name, folder in (("server", "keys"), ("me", "clients"), ("other", "keys")):
        assert streamer("keys", "new", name, "--folder", str(tmp_path / folder)).returncode == 0
    port = free_port()
    config = tmp_path / "c.yaml"
    values = {
        "cameras": {"a": {"source": "demo:", "every": 5, "input_size": 320}},
        "publish": {"zeromq": {"bind": f"tcp://0.0.0.0:{port}"}},
        "model": {"path": str(model_path)},
        "http": None,
    }
    config.write_text(yaml.safe_dump(values))
    refused = streamer("run", str(config))
    assert refused.returncode == 78
    assert "anybody could listen" in refused.stderr
    values["publish"]["zeromq"] = {  # type: ignore[index]
        "bind": f"tcp://127.0.0.1:{port}",
        "curve": {"server_key": "keys/server.key_secret", "clients": "clients"},
    }
    config.write_text(yaml.safe_dump(values))
    endpoint, server = f"tcp://127.0.0.1:{port}", str(tmp_path / "keys/server.key")
    with running("run", str(config)):
        mine = str(tmp_path / "clients/me.key_secret")
        with running("watch", endpoint, "--json", "--server-key", server, "--key", mine) as watch:
            assert watch.stdout is not None
            assert json.loads(watch.stdout.readline())["camera"] == "a"
        other = str(tmp_path / "keys/other.key_secret")
        told = streamer("watch", endpoint, "--server-key", server, "--key", other)
        assert told.returncode == 1
        assert "does not let this key in" in told.stderr
