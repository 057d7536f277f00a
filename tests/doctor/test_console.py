"""What `streamer doctor` prints: a table on a terminal, lines elsewhere, JSON when asked."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from streamer.doctor import console as doctor_console
from streamer.doctor.checks import Check, Finding
from streamer.doctor.console import examine, gather, show

WELL = Finding("codec h264", "good", "decoded by h264")
SO_SO = Finding("open files", "warning", "up to 1024", "run `ulimit -n 4096`")
ILL = Finding("onnxruntime", "bad", "is missing", "pip install 'streamer[cpu]'")


def printed(findings: list[Finding], *, terminal: bool, width: int = 100) -> str:
    out = io.StringIO()
    show(findings, Console(file=out, force_terminal=terminal, width=width, color_system=None))
    return out.getvalue()


def test_lines_for_files_and_pipes() -> None:
    long = Finding("x", "bad", "word " * 100, "mend it")
    lines = printed([WELL, SO_SO, ILL, long], terminal=False).splitlines()
    assert lines[0] == "good     codec h264: decoded by h264"
    assert lines[1] == "warning  open files: up to 1024; run `ulimit -n 4096`"
    assert lines[2].endswith("pip install 'streamer[cpu]'")  # brackets are no markup
    assert lines[3].startswith("bad      x: word word")
    assert lines[3].endswith("mend it")
    assert lines[4] == "1 good, 1 warning, 2 bad"


@pytest.mark.parametrize("width", [80, 200])
def test_a_table_for_people(width: int) -> None:
    shown = printed([WELL, SO_SO, ILL], terminal=True, width=width)
    rows = shown.splitlines()
    row = next(n for n, line in enumerate(rows) if "onnxruntime" in line)
    assert "is missing" in rows[row]
    assert "streamer[cpu]" in rows[row + 1]
    assert max(map(len, rows)) <= width


def test_a_narrow_terminal_gets_lines() -> None:
    assert "good     codec h264" in printed([WELL], terminal=True, width=60)


def part(*findings: Finding, count: int = 1) -> Check:
    def run() -> Iterator[Finding]:
        yield from findings

    return Check("part", run, count)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_only_on_a_terminal(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    assert gather([part(WELL), part(ILL, SO_SO, count=5)], console) == [WELL, ILL, SO_SO]
    assert bool(out.getvalue()) == terminal
    assert ("looking at part" in out.getvalue()) == terminal


def test_the_verdict_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_console, "checks", lambda *_, **__: [part(WELL, SO_SO)])
    lines: list[str] = []
    assert examine(None, environ={}, as_json=True, print_line=lines.append) == 0
    told = json.loads(lines[0])
    assert told["verdict"] == "warning"
    assert told["findings"][1] == {
        "name": "open files", "verdict": "warning", "detail": "up to 1024",
        "remedy": "run `ulimit -n 4096`",
    }  # fmt: skip
    monkeypatch.setattr(doctor_console, "checks", lambda *_, **__: [part(ILL)])
    assert examine(Path("x.yaml"), environ={}, as_json=True, print_line=lines.append) == 1


def test_a_wrong_configuration_alone_is_what_it_is_for_every_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = Finding("configuration", "bad", "cannot be read", "name a YAML file")
    for findings, code in (((wrong, SO_SO), 2), ((wrong, ILL), 1)):
        monkeypatch.setattr(doctor_console, "checks", lambda *_, f=findings, **__: [part(*f)])
        assert examine(Path("x.yaml"), environ={}, print_line=print) == code


def test_printing_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_console, "checks", lambda *_, **__: [part(WELL)])
    assert examine(None, environ={}) == 0
    shown = capsys.readouterr()
    assert "codec h264" in shown.out
    assert shown.err == ""
