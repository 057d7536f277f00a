"""Cores, memory, open files, the cache's disk and ports, each well and ill."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from streamer.cores import Memory
from streamer.doctor import machine as doctor_machine
from streamer.doctor.machine import (
    cache_finding,
    cores_finding,
    files_finding,
    memory_finding,
    port_finding,
)

MIB = 1 << 20


def test_cores_say_what_the_container_grants(tmp_path: Path) -> None:
    assert cores_finding(tmp_path).detail.endswith("no quota")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cg").mkdir()
    (tmp_path / "cg/cpu.max").write_text("50000 100000")
    found = cores_finding(tmp_path)
    assert (found.verdict, "quota of 0.5: 1 are used" in found.detail) == ("warning", True)
    assert "--cpus" in found.remedy
    (tmp_path / "cg/cpu.max").write_text("100000 100000")
    assert cores_finding(tmp_path).verdict == "good"


@pytest.mark.parametrize(
    ("free", "limit", "verdict", "remedy"),
    [(4096, None, "good", ""), (1023, None, "warning", "end other programs"),
     (1023, 2048, "warning", "raise the limit"), (255, 512, "bad", "raise the limit")],
)  # fmt: skip
def test_memory(free: int, limit: int | None, verdict: str, remedy: str) -> None:
    found = memory_finding(Memory(free * MIB, limit and limit * MIB))
    assert found.verdict == verdict
    assert remedy in found.remedy
    assert f"{free} MiB free" in found.detail
    assert (f"limited to {limit} MiB" in found.detail) == (limit is not None)


@pytest.mark.parametrize(
    ("limits", "verdict", "words"),
    [((4096, 4096), "good", ""), ((1024, 4096), "warning", "this shell"),
     ((1024, resource.RLIM_INFINITY), "warning", "this shell"),
     ((1024, 2048), "warning", "as root"), ((resource.RLIM_INFINITY,) * 2, "good", "")],
)  # fmt: skip
def test_open_files(
    limits: tuple[int, int], verdict: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine.resource, "getrlimit", lambda kind: limits)
    found = files_finding()
    assert found.verdict == verdict
    assert words in found.remedy


def test_a_cache_that_does_not_exist_yet_is_judged_by_what_is_above_it(tmp_path: Path) -> None:
    found = cache_finding(tmp_path / "a" / "b")
    assert found.verdict == "good"
    assert list(tmp_path.iterdir()) == []  # looking makes nothing


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = cache_finding(tmp_path / "file")
    assert found.verdict == "warning"
    assert "XDG_CACHE_HOME" in found.remedy


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "LITTLE_DISK", 1 << 60)
    assert "make room" in cache_finding(tmp_path).remedy


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "tcp://127.0.0.1:{}", "tcp://*:{}"])
def test_a_port_is_free_until_somebody_listens(form: str, free_port: int) -> None:
    bind = form.format(free_port)
    assert port_finding("http.bind", bind).verdict == "good"
    with socket.create_server(("127.0.0.1", free_port)):
        found = port_finding("http.bind", bind)
    assert (found.verdict, found.name) == ("bad", "http.bind")
    assert "set http.bind" in found.remedy
    assert port_finding("http.bind", bind).verdict == "good"


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://lo:5555"])
def test_any_port_and_an_interface_are_good(bind: str) -> None:
    assert port_finding("x", bind).verdict == "good"


@pytest.mark.parametrize(
    "bind", ["nothing", "127.0.0.1:99999", "192.0.2.1:8080", "tcp://127.0.0.1:", ":80"]
)
def test_addresses_that_cannot_be_are_bad(bind: str) -> None:
    found = port_finding("http.bind", bind)
    assert found.verdict == "bad"
    assert "http.bind" in found.remedy


def test_a_port_that_this_user_may_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor_machine.socket.socket, "bind", refuse)
    assert "above 1023" in port_finding("http.bind", "127.0.0.1:80").remedy


def test_a_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "events"
    bind = f"ipc://{path}"
    assert port_finding("x", bind).verdict == "good"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert port_finding("x", bind).verdict == "good"  # left behind by a process that died
        server.listen()
        assert port_finding("x", bind).verdict == "bad"
    assert port_finding("x", f"ipc://{tmp_path}/no/events").verdict == "bad"
    assert port_finding("x", "ipc://@abstract").verdict == "good"
