"""Addresses to listen on; tests/publish/test_zeromq.py has them with real sockets."""

import errno
from pathlib import Path

import pytest

from streamer.errors import BindError
from streamer.publish.endpoint import bad_address_why, check_address


def test_an_address_that_can_be() -> None:
    assert check_address("tcp://127.0.0.1:5556") is None
    assert check_address("ipc://@abstract") is None
    assert check_address("ipc:///tmp/no/socket") == Path("/tmp/no/socket")


@pytest.mark.parametrize("bind", ["", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:-1", "ipc://"])
def test_an_address_that_libzmq_takes_for_another(bind: str) -> None:
    with pytest.raises(BindError, match="it is not an address; write"):
        check_address(bind)


def test_every_reason_ends_in_what_to_do() -> None:
    assert bad_address_why(errno.EADDRINUSE, "").endswith("choose another")
    assert bad_address_why(errno.EIO, "odd") == "odd; choose another address"
