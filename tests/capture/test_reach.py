"""Which addresses a camera may have that was added over HTTP."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from streamer.capture.reach import Reach, addresses_of

LAN = Reach((ip_network("192.168.1.0/24"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("address", "usual", "lan"),
    [
        ("192.168.1.7", True, True),
        ("10.0.0.1", True, False),
        ("8.8.8.8", True, False),
        ("fd00::1", True, True),
        ("2001:4860:4860::8888", True, False),
        ("::ffff:192.168.1.7", True, True),
        ("127.0.0.1", False, False),
        ("127.255.255.254", False, False),
        ("::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("0.0.0.0", False, False),
        ("0.1.2.3", False, False),
        ("::", False, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("240.0.0.1", False, False),
        ("fec0::1", False, False),
        ("2002:7f00:1::", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("2001:0:7f00:1::", False, False),
        ("fd00:ec2::254", False, True),
        ("fd00:ec2::253", True, True),
        ("100.100.100.200", False, False),
        ("100.100.100.201", True, False),
        ("192.0.0.192", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::a00:1", True, False),
        ("::127.0.0.1", False, False),
        ("camera", False, False),
        ("", False, False),
    ],
)
def test_an_address_is_allowed_or_not(address: str, usual: bool, lan: bool) -> None:
    assert Reach().allows(address) is usual
    assert LAN.allows(address) is lan


def test_one_address_that_is_not_allowed_is_enough() -> None:
    assert not LAN.denied(["192.168.1.7", "192.168.1.8"])
    assert LAN.denied(["192.168.1.7", "127.0.0.1"])
    assert not LAN.denied([])
    assert not Reach((ip_network("127.0.0.0/8"),)).denied(["127.0.0.1"])


def test_whatever_way_an_address_is_written_it_is_the_same() -> None:
    for text in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost"):
        found = socket.getaddrinfo(text, 554, type=socket.SOCK_STREAM)
        assert Reach().denied(addresses_of(found)), text
