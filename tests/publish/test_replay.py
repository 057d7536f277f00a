"""The replay socket, asked by real sockets: friends, strangers and enemies."""

import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.errors import BindError
from streamer.publish import replay as module
from streamer.publish.history import History
from streamer.publish.replay import PROTOCOL, Replay


class Asking:
    """A DEALER (or REQ) socket with a time limit."""

    def __init__(self, endpoint: str, kind: int = zmq.DEALER) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def send(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def hear(self, timeout_s: float = 20) -> list[bytes]:
        assert self.socket.poll(timeout_s * 1000), "no answer"
        return self.socket.recv_multipart()

    def ask(self, *parts: bytes) -> list[bytes]:
        self.send(*parts)
        return self.hear()

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def held() -> History:
    held = History(max_bytes=2**24, max_age_s=1e9)
    for seq in range(1, 11):
        held.add(b"faces/door/", seq, b"door %d" % seq, 0.0)
    held.add(b"faces/yard/", 1, b"yard 1", 0.0)
    held.add(b"camera/door/", 1, b"live", 0.0)
    return held


@pytest.fixture
def replay(held: History) -> Iterator[Replay]:
    replay = Replay("tcp://127.0.0.1:*", held, boot_id="boot")
    thread = threading.Thread(target=replay.serve, name="publish:replay")
    thread.start()
    yield replay
    replay.close()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def asking(replay: Replay) -> Iterator[Callable[..., Asking]]:
    begun: list[Asking] = []

    def begin(kind: int = zmq.DEALER) -> Asking:
        begun.append(Asking(replay.endpoint, kind))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


MESSAGES = (PROTOCOL, b"7", b"messages", b"faces/door/")


def test_messages_are_given_and_what_is_not_there_is_told(
    asking: Callable[..., Asking], held: History
) -> None:
    client = asking()
    head = [PROTOCOL, b"7", b"messages", b"boot", b"faces/door/"]
    assert client.ask(*MESSAGES, b"boot", b"9", b"99") == [
        *head, b"9", b"10", b"door 9", b"door 10",
    ]  # fmt: skip
    assert client.ask(*MESSAGES, b"boot", b"11", b"12") == [*head, b"11", b"10"]
    last = b"%d" % (2**53 - 1)
    assert client.ask(*MESSAGES, b"boot", b"10", last)[5:] == [b"10", b"10", b"door 10"]
    assert client.ask(PROTOCOL, b"x", b"messages", b"faces/no/", b"boot", b"5", b"6") == [
        PROTOCOL, b"x", b"messages", b"boot", b"faces/no/", b"1", b"0",
    ]  # fmt: skip
    assert client.ask(*MESSAGES, b"older", b"1", b"2") == [PROTOCOL, b"7", b"elsewhere", b"boot"]


def test_the_state_of_topics_is_given(asking: Callable[..., Asking]) -> None:
    said = asking().ask(PROTOCOL, b"1", b"newest", b"", b"faces/", b"camera/door/")
    assert said == [
        PROTOCOL, b"1", b"newest", b"boot", b"0",
        b"camera/door/", b"1", b"live",
        b"faces/door/", b"10", b"door 10",
        b"faces/yard/", b"1", b"yard 1",
    ]  # fmt: skip


def test_a_plain_req_socket_will_do(asking: Callable[..., Asking]) -> None:
    said = asking(zmq.REQ).ask(*MESSAGES, b"boot", b"10", b"10")
    assert said[-1] == b"door 10"


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ([b"hello"], b"not a question of streamer.replay/1"),
        ([b"streamer.replay/2", b"1", b"messages", b"t"], b"not a question of streamer.replay/1"),
        ([PROTOCOL, b"1", b"delete", b"faces/door/"], b"not a question that can be answered"),
        ([*MESSAGES, b"boot", b"1"], b"not a question that can be answered"),
        ([PROTOCOL, b"1", b"newest", b""], b"not a question that can be answered"),
        ([*MESSAGES, b"boot", b"0", b"1"], b"a whole number from 1"),
        ([*MESSAGES, b"boot", b"-1", b"1"], b"a whole number from 1"),
        ([*MESSAGES, b"boot", b"1" * 17, b"1"], b"a whole number from 1"),
        ([*MESSAGES, b"boot", b"1", b"9007199254740992"], b"from 1 to 9007199254740991"),
        ([*MESSAGES, b"boot", "²".encode(), b"1"], b"a whole number from 1"),
        ([*MESSAGES, b"boot", b"2", b"1"], b"the last message is before the first"),
        ([PROTOCOL, b"1" * 17, b"newest", b"", b"faces/"], b"number is too long"),
        ([PROTOCOL, b"1", b"newest", b"", *[b"faces/"] * 99], b"too many parts"),
    ],
)
def test_what_is_no_question_is_refused_and_counted(
    asking: Callable[..., Asking], replay: Replay, question: list[bytes], why: bytes
) -> None:
    said = asking().ask(*question)
    assert said[0] == PROTOCOL
    assert said[2] == b"refused"
    assert why in said[3]
    assert (replay.refused, replay.answered) == (1, 0)


def test_answers_are_bounded(asking: Callable[..., Asking], held: History) -> None:
    for seq in range(1, 41):
        held.add(b"faces/big/", seq, bytes(20_000), 0.0)
    said = asking().ask(PROTOCOL, b"1", b"messages", b"faces/big/", b"boot", b"1", b"40")
    assert len(said) - 7 == module.ANSWER_BYTES // 20_000


def test_one_part_that_is_too_long_ends_the_connection_and_disturbs_nobody(
    asking: Callable[..., Asking], replay: Replay
) -> None:
    greedy, client = asking(), asking()
    monitor = greedy.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    greedy.send(PROTOCOL, b"1", b"messages", bytes(10**6))
    assert monitor.poll(20_000)
    assert client.ask(*MESSAGES, b"boot", b"10", b"10")[-1] == b"door 10"
    greedy.socket.disable_monitor()
    monitor.close()


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, bytes(64)])
def test_a_peer_that_speaks_another_language_disturbs_nobody(
    asking: Callable[..., Asking], replay: Replay, greeting: bytes
) -> None:
    host, port = replay.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(greeting)
        assert asking().ask(*MESSAGES, b"boot", b"10", b"10")[-1] == b"door 10"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(MESSAGES)), max_size=9))
def test_any_bytes_are_answered_or_refused(replay: Replay, question: list[bytes]) -> None:
    try:
        said = replay._answer(question, 0.0)
    except module._Refused as refusal:
        assert "; " in str(refusal) or "whole number" in str(refusal)  # it says what to do
    else:
        assert said[0] == PROTOCOL


STUCK = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.RCVHWM, 1)
socket.connect(sys.argv[1])
ask = b"streamer.replay/1 1 messages faces/big/ boot 1 9999".split()
for _ in range(2000):
    socket.send_multipart(ask)
print("asked", flush=True)
sys.stdin.read()
"""


def test_one_who_asks_and_never_reads_costs_little_and_disturbs_nobody(
    asking: Callable[..., Asking], replay: Replay, held: History
) -> None:
    for seq in range(1, 41):
        held.add(b"faces/big/", seq, bytes(20_000), 0.0)
    before = resident_bytes()
    stuck = subprocess.Popen(
        [sys.executable, "-c", STUCK, replay.endpoint],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert stuck.stdout is not None
    assert stuck.stdout.readline() == "asked\n"
    stuck.send_signal(signal.SIGSTOP)
    give_up_at = time.monotonic() + 30
    while not replay.unsent:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    assert asking().ask(*MESSAGES, b"boot", b"10", b"10")[-1] == b"door 10"
    assert resident_bytes() - before < 64 * 2**20
    stuck.send_signal(signal.SIGCONT)
    stuck.kill()
    stuck.communicate()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_questions_without_end_are_answered_at_a_bounded_rate(
    asking: Callable[..., Asking], replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUESTIONS_PER_S", 50)
    client = asking()
    began_at = time.monotonic()
    for _ in range(120):
        client.ask(*MESSAGES, b"boot", b"10", b"10")
    assert time.monotonic() - began_at > 1.0  # a second for each fifty


def test_stopping_is_at_once_and_frees_the_address(held: History) -> None:
    replay = Replay("tcp://127.0.0.1:*", held, boot_id="b")
    thread = threading.Thread(target=replay.serve)
    thread.start()
    replay.close()
    thread.join(10)
    assert not thread.is_alive()
    replay.close()  # once more does nothing
    again = Replay(replay.endpoint, held, boot_id="b")
    again.close()
    again.close()
    again.serve()  # it was closed before it began


def test_a_busy_port_is_one_sentence(replay: Replay, held: History) -> None:
    with pytest.raises(BindError) as caught:
        Replay(replay.endpoint, held, boot_id="b")
    assert str(caught.value) == (
        f"cannot replay on {replay.endpoint}: the address is in use; "
        "stop what uses it or choose another"
    )


def test_an_ipc_address_is_for_this_user_only(tmp_path: Path, held: History) -> None:
    path = tmp_path / "replay"
    replay = Replay(f"ipc://{path}", held, boot_id="b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replay.close()
    assert not path.exists()
