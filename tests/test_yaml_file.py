"""Files that a person wrote, and files that somebody wrote to do harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.yaml_file import Unreadable, Variables, read_yaml

SECRET = "hunter2-canary"


HOSTILE = {
    "a tag": "cameras: !!python/object/apply:os.system ['true']",
    "a tab": "cameras:\n\tdoor: 1",
    "a key twice": "cameras: {}\ncameras: {}",
    "not a mapping": "- 1\n- 2",
    "nothing": "",
    "a bare word": "hello",
    "unclosed": "cameras: {door: {source: 'rtsp://u:hunter2-canary@h/x'",
    "two documents": "cameras: {}\n---\ncameras: {}",
    "deep": "cameras: " + "[" * 3000,
    "an alias bomb": "\n".join(
        ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
        + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    ),
    "numbers as keys": "cameras: {1: {source: 'webcam:0'}}\n2: 3",
    "a date": "cameras: {door: {source: 2026-01-01}}",
    "an unknown alias": f"cameras: *{SECRET}",
    "an unknown tag": f"cameras: !{SECRET} x",
    "a secret that is a key twice": f"{SECRET}: 1\n{SECRET}: 2",
    "no date": f"cameras: !!timestamp {SECRET}",
    "a list as a key": "? [a]\n: b",
    "control characters": 'cameras: {door: {source: "rtsp://h/\\x01"}}',
    "over a mebibyte": "# " + "x" * (1 << 20),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_give_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert caught.value.problems
    assert SECRET not in str(caught.value)
    assert all("\n" not in problem for problem in caught.value.problems)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(Unreadable, match="cannot be read"):
            load_config(path, {})
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00cameras")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary, {})


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is a pipe or a device and no file; write"):
            load_config(path, {})


def test_shared_parts_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("base: &base {every: 2}\na: {<<: *base, source: '${NAME}'}\nb: *base\n")
    variables = Variables({"NAME": "webcam:0"})
    filled = variables.fill(read_yaml(file))
    assert filled["a"] == {"every": 2, "source": "webcam:0"}
    assert filled["b"] is filled["base"]
    assert variables.problems == []


def test_a_part_inside_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("cameras: &a {door: *a}")
    with pytest.raises(ConfigError, match="recursive"):
        load_config(file, {})
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ConfigError, match="in itself"):
        Variables({}).fill({"a": loop})


def test_a_value_may_be_the_line_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "door").write_text("p%40ss\n")
    variables = Variables({})
    source = f"rtsp://u:${{file:{tmp_path}/door}}@h/x"
    assert variables.fill({"a": [source]}) == {"a": ["rtsp://u:p%40ss@h/x"]}
    assert variables.problems == []
    assert Variables({}).fill("${file:relative}") == "${file:relative}"  # no variable, as ever


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"", "one short line"), (b"a\nb", "one short line"),
     (b"\xff", "not UTF-8"), (b"a\x00", "one short line"), (b"x" * 5000, "one short line")],
)  # fmt: skip
def test_a_file_of_no_use_is_named_and_not_shown(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "door"
    if content is not None:
        file.write_bytes(content)
    config = tmp_path / "c.yaml"
    config.write_text(f'cameras: {{door: {{source: "rtsp://u:${{file:{file}}}@h/x"}}}}')
    with pytest.raises(ConfigError) as caught:
        load_config(config, {})
    (problem,) = caught.value.problems
    assert problem.startswith(f"cameras.door.source: the file {file} ")
    assert why in problem


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "door")
    variables = Variables({})
    variables.fill(f"${{file:{tmp_path}/door}}")
    assert "it is no file" in variables.problems[0][1]
