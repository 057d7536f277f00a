"""`streamer watch` and `streamer replay`, as a user calls them."""

import json
import os
import resource
import signal
from pathlib import Path

from streamer.client.recording import entries
from tests.e2e.program import free_port, running, streamer
from tests.test_republish import recording as recording


def test_watch_records_and_replay_publishes_it_again(tmp_path: Path, recording: Path) -> None:
    """The command line, both ways: recording -> replay -> watch --json --record -> the same."""
    port, copy = free_port(), tmp_path / "copy"
    address = f"tcp://127.0.0.1:{port}"
    watch = ["watch", address, "--json", "--record", str(copy)]
    with (
        running("replay", str(recording), "--bind", address, "--loop", "--speed", "5") as player,
        running(*watch) as watcher,
    ):
        assert watcher.stdout is not None
        lines = [json.loads(watcher.stdout.readline()) for _ in range(40)]
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=15)
        player.send_signal(signal.SIGTERM)
        out, _ = player.communicate(timeout=15)
    assert player.returncode == 0
    assert "published" in out
    kinds = {line.get("schema") for line in lines}
    assert kinds <= {"streamer.faces/1", "streamer.camera/1"}
    assert [one.fields for one in entries(copy)][:40] == lines
    again = streamer("watch", address, "--record", str(copy))
    assert again.returncode == 2
    assert "choose another name" in again.stderr


def test_a_file_that_is_no_recording_is_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("hello\n")
    done = streamer("replay", str(bad))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no recording of `streamer watch --record`" in done.stderr
    assert streamer("replay", str(tmp_path / "gone")).returncode == 2
    os.mkfifo(tmp_path / "pipe")
    done = streamer("replay", str(tmp_path / "pipe"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is no regular file" in done.stderr
    done = streamer("replay", str(bad), "--bind", "tcp://0.0.0.0:5555")
    assert done.returncode == 78
    assert "can be reached by other machines" in done.stderr
    done = streamer("replay", str(bad), "--bind", "ipc://@streamer")
    assert done.returncode == 78
    assert "can be reached by every user of this machine" in done.stderr
    done = streamer("replay", str(bad), "--bind", "junk")
    assert done.returncode == 2
    assert "it is not an address; write tcp://127.0.0.1:5555 or ipc:///path" in done.stderr


def test_watching_goes_on_where_the_recording_cannot(tmp_path: Path, recording: Path) -> None:
    """A limit of the process on the size of files stands for a full disk."""
    address, copy = f"tcp://127.0.0.1:{free_port()}", tmp_path / "copy"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731
    with (
        running("replay", str(recording), "--bind", address, "--loop", "--speed", "5"),
        running("watch", address, "--json", "--record", str(copy), preexec_fn=limit) as watcher,
    ):
        assert watcher.stdout is not None
        assert all(json.loads(watcher.stdout.readline()) for _ in range(40))
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=15)
    assert f"{copy} cannot be written (File too large); watching goes on" in said
    assert said.count("recording has ended") == 1
    assert 0 < len(list(entries(copy))) < 40
