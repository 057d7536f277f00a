from __future__ import annotations

import threading

from streamer.capture.resolve import Resolver, is_address


def test_addresses_are_never_looked_up() -> None:
    def lookup(host: str, port: int) -> object:
        raise AssertionError(host)

    for host in ("127.0.0.1", "::1"):
        assert is_address(host)
        assert Resolver(host, 1, lookup=lookup).resolves(1, threading.Event()) is True


def test_known_and_unknown_names() -> None:
    def lookup(host: str, port: int) -> object:
        if host != "camera":
            raise OSError("no such name")
        return []

    stop = threading.Event()
    assert Resolver("camera", 554, lookup=lookup).resolves(5, stop) is True
    assert Resolver("other", 554, lookup=lookup).resolves(5, stop) is False


def test_a_silent_resolver_is_bounded_and_asked_once_at_a_time() -> None:
    answer, asked = threading.Event(), []

    def lookup(host: str, port: int) -> object:
        asked.append(host)
        return answer.wait(30)

    resolver, stop = Resolver("camera", 554, lookup=lookup), threading.Event()
    assert resolver.resolves(0.05, stop) is None
    assert resolver.resolves(0.05, stop) is None
    stop.set()
    assert resolver.resolves(60, stop) is None  # stop ends the wait
    assert asked == ["camera"]
    answer.set()
    assert resolver.resolves(5, threading.Event()) is True


def test_a_name_no_resolver_takes_is_unknown() -> None:
    assert Resolver("a" * 70 + ".x", 1).resolves(30, threading.Event()) is False
