"""The command line: every verb run as a user does, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer import __version__
from streamer.resources import resource
from tests.e2e.program import ROOT, free_port, running, streamer


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """Most of these commands need the real model."""


@pytest.fixture
def astronaut_file(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    file = tmp_path / "astronaut.png"
    cv2.imwrite(str(file), astronaut)
    return file


def test_version_and_help_name_the_exit_codes() -> None:
    for asked in ("version", "--version"):
        assert streamer(asked).stdout.strip() == f"streamer {__version__}"
    for arguments, code in ((), 2), (("--help",), 0):
        done = streamer(*arguments)
        assert done.returncode == code
        text = done.stdout + done.stderr
        for verb in (
            "run",
            "demo",
            "check",
            "watch",
            "detect",
            "doctor",
            "models",
            "config",
            "version",
        ):
            assert verb in text
    assert "Exit codes" in streamer("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["run", "x", "--nope"], "run"), (["models", "pull", "--nope"], "models pull"),
     (["nosuch"], "")],
)  # fmt: skip
def test_wrong_arguments_name_the_command_whose_help_to_read(
    arguments: list[str], command: str
) -> None:
    done = streamer(*arguments)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith(f"see `{' '.join(['streamer', command]).strip()} --help`")


def test_detect_finds_the_one_face_and_none_where_there_is_none(
    tmp_path: Path, astronaut_file: Path
) -> None:
    import skimage.data

    coffee = tmp_path / "coffee.jpg"
    cv2.imwrite(str(coffee), np.ascontiguousarray(skimage.data.coffee()[:, :, ::-1]))
    done = streamer("detect", str(astronaut_file), str(coffee))
    assert done.returncode == 0, done.stderr
    with_face, without = map(json.loads, done.stdout.splitlines())
    assert (with_face["camera"], len(with_face["faces"])) == ("astronaut.png", 1)
    assert (without["camera"], without["faces"], without["status"]) == (
        "coffee.jpg", [], "detected",
    )  # fmt: skip
    x1, y1, x2, y2 = with_face["faces"][0]["bbox"]
    assert 160 < x1 < 200 < x2 < 290
    assert 40 < y1 < 80 < y2 < 200


def test_detect_gives_every_frame_of_a_video_and_draws_it(tmp_path: Path) -> None:
    output, drawn = tmp_path / "r.jsonl", tmp_path / "drawn.mp4"
    done = streamer(
        "detect", str(resource("demo.mp4")), "--input-size", "320", "--confidence", "0.5",
        "--output", str(output), "--annotated", str(drawn),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    events = [json.loads(line) for line in output.read_text().splitlines()]
    assert [event["frame"] for event in events] == list(range(250))
    assert [event["seq"] for event in events] == list(range(1, 251))
    again = streamer("detect", str(drawn), "--input-size", "64")
    assert len(again.stdout.splitlines()) == 250


def test_detect_draws_several_files_into_a_folder(tmp_path: Path, astronaut_file: Path) -> None:
    other = tmp_path / "other.jpg"
    cv2.imwrite(str(other), np.zeros((90, 120, 3), np.uint8))
    drawn = tmp_path / "drawn"
    done = streamer("detect", str(astronaut_file), str(other), "--annotated", str(drawn))
    assert done.returncode == 0, done.stderr
    assert {file.name for file in drawn.iterdir()} == {"astronaut.png", "other.jpg"}
    before, after = cv2.imread(str(astronaut_file)), cv2.imread(str(drawn / "astronaut.png"))
    assert before.shape == after.shape
    assert np.any(before != after)


def test_one_file_may_be_drawn_into_a_folder(tmp_path: Path, astronaut_file: Path) -> None:
    for folder in ("there", "new"):
        (tmp_path / "there").mkdir(exist_ok=True)
        done = streamer("detect", str(astronaut_file), "--annotated", f"{tmp_path / folder}/")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / folder / "astronaut.png").is_file()


def test_a_video_is_not_drawn_into_a_picture(tmp_path: Path) -> None:
    clip = str(resource("demo.mp4"))
    done = streamer("detect", clip, "--input-size", "64", "--annotated", str(tmp_path / "x.png"))
    assert done.returncode == 1
    assert "choose a .mp4" in done.stderr


def test_detect_goes_on_after_a_file_that_is_no_picture(
    tmp_path: Path, astronaut_file: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<html>")
    done = streamer("detect", str(bad), str(astronaut_file))
    assert done.returncode == 1
    assert done.stderr.count("bad.png") == done.stderr.count(str(bad)) == 1
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.png"], "no such file"),
        (["--input-size", "100"], "multiple of 32"),
        (["--confidence", "7"], "model.confidence"),
        (["--device", "gpu"], "must be auto, cpu, cuda"),
        (["--model", "nosuch"], "model.name: there is no model 'nosuch'"),
        (["rtsp://u:c4n4ry@h/x"], "no such file"),
        (["--output", "/nowhere/x.jsonl"], "/nowhere/x.jsonl"),
        (["--annotated", "/nowhere/x.png"], "/nowhere/x.png: cannot be written (its folder"),
        (["--annotated", "/proc/nowhere/"], "/proc/nowhere: cannot be written"),
    ],
)
def test_detect_refuses_what_cannot_be(
    astronaut_file: Path, arguments: list[str], says: str
) -> None:
    files = [] if len(arguments) == 1 else [str(astronaut_file)]
    done = streamer("detect", *files, *arguments)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""  # nothing was looked at before
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "c4n4ry" not in done.stderr


def test_detect_never_writes_over_an_input_or_a_result(
    tmp_path: Path, astronaut_file: Path
) -> None:
    before = astronaut_file.read_bytes()
    (tmp_path / "d").mkdir()
    twin = tmp_path / "d" / astronaut_file.name
    twin.write_bytes(before)
    same, out = str(astronaut_file), str(tmp_path / "r.png")
    for arguments in (
        [same, "--annotated", same],
        [same, "--output", same],
        [same, "--output", out, "--annotated", out],
        [same, str(twin), "--annotated", str(tmp_path / "drawn")],
        [same, str(twin), "--annotated", str(tmp_path / "d")],
    ):
        done = streamer("detect", *arguments)
        assert done.returncode == 2, arguments
        assert "choose another place" in done.stderr or "written twice" in done.stderr
    assert astronaut_file.read_bytes() == twin.read_bytes() == before


def test_a_damaged_file_is_no_success(tmp_path: Path) -> None:
    clip = bytearray(resource("demo.mp4").read_bytes())
    start = clip.index(b"mdat") + 8
    for position in range(start, len(clip) - 4, 97):
        clip[position] ^= 0x5A
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip)
    done = streamer("detect", str(damaged), "--input-size", "64")
    frames = len(done.stdout.splitlines())
    assert frames < 250
    # Some pictures may survive; then a warning says how many packets did not.
    assert (done.returncode == 1) if frames == 0 else ("file_damaged" in done.stderr)


def test_a_reader_that_leaves_early_is_no_error(astronaut_file: Path) -> None:
    command = f"{sys.executable} -m streamer detect {resource('demo.mp4')} --input-size 64"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_ledger_that_nobody_reads_any_more_is_told(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("cameras: {a: {source: 'synthetic:'}}\nhttp: null\npublish: {zeromq: null}")
    with running("run", str(config), "--seconds", "0.5") as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        err = program.stderr.read()
        code = program.wait(60)
    assert code == 1
    assert [line for line in err.splitlines() if not line.startswith("{")] == [
        "streamer: the output cannot be written (Broken pipe); give it another place"
    ]


def test_verify_finds_a_changed_model(tmp_path: Path, model_bytes: bytes) -> None:
    changed = bytearray(model_bytes)
    changed[1000] ^= 1
    (tmp_path / "retinaface_mnet025.onnx").write_bytes(changed)
    environ = {**os.environ, "RETINAFACE_MODEL_PATH": str(tmp_path)}
    done = streamer("run", "configs/demo.yaml", "--seconds", "1", env=environ)
    assert done.returncode == 1
    assert "retinaface_mnet025" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_schema_and_show() -> None:
    schema = json.loads(streamer("config", "schema").stdout)
    assert "cameras" in schema["properties"]
    shown = json.loads(streamer("config", "show", "configs/demo.yaml").stdout)
    assert shown["cameras"]["hall"]["every"] == 2


def test_check_tells_good_from_bad(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"cameras: {{a: {{source: 'synthetic:'}}, b: {{source: '{resource('demo.mp4')}'}}}}"
    )
    done = streamer("check", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("good") == 3
    file.write_text(f"cameras: {{a: {{source: 'rtsp://127.0.0.1:{free_port()}/x'}}}}")
    done = streamer("check", str(file))
    assert done.returncode == 1
    assert "bad " in done.stdout


def test_watch_prints_events_of_one_camera(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "c.yaml"
    file.write_text(
        f"""
cameras: {{a: {{source: "synthetic:?fps=10"}}, b: {{source: "synthetic:?fps=10"}}}}
http: null
publish: {{zeromq: {{bind: "tcp://127.0.0.1:{port}"}}}}
"""
    )
    with (
        running("run", str(file)) as program,
        running("watch", f"tcp://127.0.0.1:{port}", "--camera", "b", "--json") as watcher,
    ):
        assert watcher.stdout is not None
        events = [json.loads(watcher.stdout.readline()) for _ in range(5)]
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=15)
        program.send_signal(signal.SIGTERM)
        program.communicate(timeout=15)
    assert {event["camera"] for event in events} == {"b"}
    assert program.returncode == 0


def test_doctor_tells_good_from_bad_as_words_and_as_json(tmp_path: Path) -> None:
    well = streamer("doctor")
    assert well.returncode == 0, well.stdout + well.stderr
    assert "onnxruntime" in well.stdout
    config = tmp_path / "streamer.yaml"
    config.write_text("cameras: {door: {source: gone.mp4}}\n")
    ill = streamer("doctor", str(config), "--json")
    assert ill.returncode == 1
    found = json.loads(ill.stdout)
    assert found["schema"] == 1 or "doctor" in str(found["schema"])
    assert "gone.mp4" in ill.stdout
    # Nothing but the configuration is wrong: the exit code is that of every other command.
    wrong = streamer("doctor", str(tmp_path / "missing.yaml"))
    assert wrong.returncode == 2, wrong.stdout
