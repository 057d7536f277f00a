"""What a user gets wrong: one clear sentence, the right exit code, no traceback, no secret."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.e2e.program import free_port, streamer

SECRET = "hunter2-canary"


def one_sentence(done: object, *, code: int, says: str) -> None:
    assert done.returncode == code, done.stderr  # type: ignore[attr-defined]
    text = done.stdout + done.stderr  # type: ignore[attr-defined]
    assert "Traceback" not in text
    assert SECRET not in text
    complaints = [line for line in text.splitlines() if line.startswith("streamer: ")]
    assert any(says in line for line in complaints), text


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: {}", "must name at least one camera"),
        ("cameras: {a: {sorce: 'webcam:0'}}", "cameras.a.sorce: unknown key; did you mean source?"),
        (f"cameras: {{a: {{source: 'rtps://u:{SECRET}@h/x'}}}}", "cameras.a.source"),
        (f"cameras: {{a: {{source: 'rtsp:u:{SECRET}@h/x'}}}}", "cameras.a.source"),
        ("cameras: [", "c.yaml, line"),
        ("model: {input_size: 100}\ncameras: {a: {source: 'webcam:0'}}", "multiple of 32"),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, says: str) -> None:
    one_sentence(streamer("run", config(tmp_path, text)), code=2, says=says)


def test_no_such_configuration() -> None:
    one_sentence(streamer("run", "/nowhere/c.yaml"), code=2, says="cannot be read")


def test_unknown_option_and_command() -> None:
    one_sentence(streamer("demo", "--sceonds", "3"), code=2, says="--sceonds")
    one_sentence(streamer("dmo"), code=2, says="dmo")


def test_missing_model(tmp_path: Path) -> None:
    file = config(
        tmp_path, "model: {path: none.onnx}\nhttp: null\ncameras: {a: {source: 'synthetic:'}}"
    )
    one_sentence(streamer("run", file), code=1, says="streamer models pull")
    environ = {**os.environ, "RETINAFACE_MODEL_PATH": str(tmp_path)}
    file = config(tmp_path, "http: null\ncameras: {a: {source: 'synthetic:'}}")
    one_sentence(streamer("run", file, env=environ), code=1, says="streamer models pull")


def test_a_model_that_is_not_what_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"<html>not found</html>")
    file = config(
        tmp_path, "model: {path: m.onnx}\nhttp: null\ncameras: {a: {source: 'synthetic:'}}"
    )
    one_sentence(streamer("run", file), code=1, says="m.onnx")


def test_busy_ports(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one_sentence(
            streamer("demo", "--http", f"127.0.0.1:{port}", "--zeromq", "tcp://127.0.0.1:*"),
            code=1,
            says=str(port),
        )
        one_sentence(
            streamer(
                "demo", "--http", f"127.0.0.1:{free_port()}",
                "--zeromq", f"tcp://127.0.0.1:{port}",
            ),
            code=1,
            says=str(port),
        )  # fmt: skip


def test_a_file_that_is_not_there_or_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    for name in ("none.mp4", "text.mp4"):
        file = config(
            tmp_path,
            f"http: null\npublish: {{zeromq: null}}\ncameras: {{a: {{source: '{name}'}}}}",
        )
        one_sentence(streamer("run", file), code=1, says=name)


def test_a_camera_that_refuses_is_reported_by_check_without_its_password(tmp_path: Path) -> None:
    url = f"rtsp://u:{SECRET}@127.0.0.1:{free_port()}/x"
    file = config(tmp_path, f"cameras: {{a: {{source: '{url}'}}}}")
    done = streamer("check", file)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert "camera a" in text
    assert SECRET not in text
    assert "Traceback" not in text


def test_a_camera_that_is_down_does_not_end_the_run(tmp_path: Path) -> None:
    url = f"rtsp://u:{SECRET}@127.0.0.1:{free_port()}/x"
    file = config(
        tmp_path,
        "http: null\npublish: {zeromq: null}\n"
        f"cameras: {{a: {{source: '{url}'}}, b: {{source: 'synthetic:?fps=5'}}}}",
    )
    done = streamer("run", file, "--seconds", "4")
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert SECRET not in text
    assert "refused" in text
    assert "NO" not in done.stdout


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    file = config(tmp_path, "device: cuda\nhttp: null\ncameras: {a: {source: 'synthetic:'}}")
    one_sentence(streamer("run", file), code=1, says="CUDA")


def test_stop_while_a_camera_is_dialled(tmp_path: Path) -> None:
    """A camera that accepts and never answers cannot keep the program from ending well."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"rtsp://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/x"
        file = config(
            tmp_path, f"http: null\npublish: {{zeromq: null}}\ncameras: {{a: {{source: '{url}'}}}}"
        )
        done = streamer("run", file, "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "Ledger" in done.stdout
