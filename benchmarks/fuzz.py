"""Bytes from strangers at every door of publishing: `python -m benchmarks.fuzz --minutes 10`.

A publisher with replay runs in this process. Strangers send what was good and is mutated, or was
never good: to the decoders of both ends (JSON, MessagePack, answers, heartbeats), as questions to
the replay socket, as subscriptions, and as raw bytes over TCP, with and without a good greeting. It
fails when anything but ``ValueError`` comes out of a decoder, when a friend stops hearing or
getting answers, or when memory grows. ``--seed`` repeats a run.
"""

from __future__ import annotations

import argparse
import os
import random
import socket as sockets
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import zmq

from streamer.client.wire import read_answer, read_live
from streamer.log import configure
from streamer.publish.replay import PROTOCOL
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Beat, Faces, Frame, NoPicture, Result, Stamps, Tracks

ROOT = Path(__file__).resolve().parent.parent
CORPUS = [path.read_bytes() for path in (ROOT / "tests" / "data" / "events").glob("*.json")]
CORPUS += [msgspec.msgpack.encode(msgspec.json.decode(one)) for one in CORPUS]
TOPICS = (b"faces/door/", b"camera/door/", b"track/door/", b"heartbeat/", b"", b"faces/", b"x" * 99)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
WORDS = (
    PROTOCOL, b"messages", b"newest", b"elsewhere", b"fuzz", b"1", b"0", b"-1", b"9" * 17, b"",
    b"faces/door/", b"\xff" * 20, b"\x00", b"99999999", b"faces/" * 100,
)  # fmt: skip
PING = b"\x04\x07\x04PING\x00\x00"
GROWTH_MB = 40.0


class Mutator:
    """Makes bytes that are nearly good."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def mutated(self, data: bytes) -> bytes:
        """``data`` with some of it changed, cut, repeated or put elsewhere."""
        for _ in range(self.random.randint(0, 4)):
            at = self.random.randint(0, len(data))
            cut = self.random.choice((0, 1, 1, 4, 40, 10_000))
            with_ = self.random.choice(
                (b"", self.random.randbytes(self.random.randint(1, 8)), b"null", b"[" * 5000,
                 b"1e999", b"9" * 400, b'"', data[:50], b"\x81\xa1x" * 3000)
            )  # fmt: skip
            data = data[:at] + with_ + data[at + cut :]
        return data[: 2**20]

    def message(self) -> list[bytes]:
        """A message of two parts, more or less."""
        parts = [self.random.choice(TOPICS), self.mutated(self.random.choice(CORPUS))]
        if self.random.random() < 0.05:
            parts = parts[: self.random.randint(0, 1)] + [b""] * self.random.randint(0, 3)
        return parts

    def question(self) -> list[bytes]:
        """Parts that may be a question."""
        count = self.random.choice((1, 2, 4, 5, 7, 9, 80))
        parts = [self.random.choice(WORDS) for _ in range(count)]
        if self.random.random() < 0.7:
            parts[0] = PROTOCOL
        if self.random.random() < 0.002:
            parts[-1] = bytes(2000)  # it is hung up on
        if count == 7 and self.random.random() < 0.7:
            parts[2:5] = [b"messages", b"faces/door/", b"fuzz"]
        return parts

    def frames(self) -> bytes:
        """Raw bytes for a peer that speaks ZMTP, more or less."""
        made = GREETING if self.random.random() < 0.8 else self.mutated(GREETING)
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
        made += bytes([4, len(ready)]) + ready
        for _ in range(self.random.randint(0, 60)):
            body = self.random.randbytes(self.random.choice((0, 1, 9, 200)))
            made += bytes([self.random.choice((0, 1, 2, 4, 5, 7, 255)), len(body)]) + body
            if self.random.random() < 0.05:
                made += PING
        return made


class Friend:
    """An honest subscriber that also asks."""

    def __init__(self, sink: ZeroMqSink) -> None:
        assert sink.replay is not None
        self.context = zmq.Context()
        self.sink = sink
        self.hears = self.context.socket(zmq.SUB)
        self.hears.connect(sink.endpoint)
        self.hears.subscribe(b"faces/door/")
        self.asks = self.context.socket(zmq.DEALER)
        self.asks.connect(sink.replay.endpoint)

    def check(self) -> None:
        """Publish and hear it, ask and be answered. Raises AssertionError."""
        self.sink.write(outcome())
        give_up_at = time.monotonic() + 20
        while not self.hears.poll(200):
            self.sink.write(outcome())
            assert time.monotonic() < give_up_at, "a friend hears nothing any more"
        while self.hears.poll(0):
            self.hears.recv_multipart()
        self.asks.send_multipart(
            [PROTOCOL, b"7", b"messages", b"faces/door/", b"fuzz", b"1", b"99999999"]
        )
        assert self.asks.poll(20_000), "a friend gets no answer any more"
        assert self.asks.recv_multipart()[2] == b"messages"


def outcome() -> Result:
    now = time.monotonic()
    faces = Faces(np.ones((2, 4), "f4"), np.ones(2, "f4"), np.ones((2, 5, 2), "f4"))
    frame = Frame("door", 0, 0, now, 0.0, None, NoPicture(64, 48))
    return Result(frame, Tracks(np.arange(2), faces), Stamps(now, now, now))


def decoders(mutator: Mutator, count: int) -> int:
    """Read ``count`` messages and answers; how many were good."""
    good = 0
    for _ in range(count):
        parts = mutator.message()
        answer = [PROTOCOL, b"1", mutator.random.choice(WORDS), b"3f9a", *mutator.question()[1:]]
        for read, given in ((read_live, parts), (read_answer, answer)):
            reads: Callable[[list[bytes]], object] = read
            try:
                reads(given)
                good += 1
            except ValueError:
                pass
    return good


def ask(mutator: Mutator, endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as one:
        one.linger = 0
        one.connect(endpoint)
        for _ in range(50):
            one.send_multipart(mutator.question())
        give_up_at = time.monotonic() + 0.3
        while one.poll(100) and time.monotonic() < give_up_at:
            one.recv_multipart()


def subscribe(mutator: Mutator, endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as one:
        one.linger = 0
        one.connect(endpoint)
        for _ in range(200):
            size = mutator.random.choice((0, 1, 20, 500, 5000))
            one.subscribe(mutator.random.randbytes(size))
        one.poll(30)


def speak(mutator: Mutator, endpoint: str) -> None:
    port = int(endpoint.rpartition(":")[2])
    try:
        with sockets.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.settimeout(0.05)
            if mutator.random.random() < 0.5:  # it ends in a reset
                one.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            one.sendall(mutator.frames())
            one.recv(4096)
    except OSError:
        pass  # it was hung up on


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    configure()
    mutator = Mutator(seed)
    sink = ZeroMqSink(
        "tcp://127.0.0.1:*", replay="tcp://127.0.0.1:*", history_bytes=2**20, boot_id="fuzz",
        model="m", final=lambda: Beat(0.0, 0.0, {}),
    )  # fmt: skip
    assert sink.replay is not None
    replaying = threading.Thread(target=sink.replay.serve)
    replaying.start()
    friend = Friend(sink)
    began_at, rounds, good, memory = time.monotonic(), 0, 0, [resident_mb()]
    length_s = options.minutes * 60
    told_at = began_at
    try:
        while (elapsed := time.monotonic() - began_at) < length_s:
            good += decoders(mutator, 200)
            ask(mutator, sink.replay.endpoint)
            subscribe(mutator, sink.endpoint)
            for endpoint in (sink.endpoint, sink.replay.endpoint):
                for _ in range(5):
                    speak(mutator, endpoint)
            friend.check()
            rounds += 1
            if time.monotonic() >= told_at:
                told_at = time.monotonic() + max(5.0, length_s / 20)
                memory.append(resident_mb())
                print(f"{elapsed:5.0f} s: {rounds} rounds, {memory[-1]:.0f} MB", flush=True)
    finally:
        sink.close()
        replaying.join()
        friend.context.destroy(linger=0)
    warm = memory[len(memory) // 4]
    print(
        f"seed {seed}: {rounds} rounds, {rounds * 400} decoded ({good} were good), "
        f"{sink.replay.answered} questions answered, {sink.replay.refused} refused; "
        f"{dict(sink.refused)}; {warm:.0f} MB after a quarter, {memory[-1]:.0f} MB at the end"
    )
    if memory[-1] - warm > GROWTH_MB:
        sys.exit("memory grows")


if __name__ == "__main__":
    main()
