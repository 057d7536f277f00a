"""Which addresses a camera may have that was added over HTTP. Looks up nothing by itself.

Whoever may add a camera makes streamer dial an address of his choice from where it stands. So an
address is looked at after the name was looked up, all of them must be allowed, and the one that
was looked at is the one that is dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that are allowed.

    ``networks``: those inside one of them. None: all but those of this machine itself
    (loopback, and the unspecified address that means the same), link-local and site-local ones,
    multicast and reserved ones, those at which cloud machines keep their secrets (169.254.169.254
    is link-local), and those of 6to4 and Teredo, which hide an IPv4 address and no camera has.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] | None = None

    def allows(self, address: str) -> bool:
        """Whether a camera may have ``address``, IPv4 or IPv6, numeric."""
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if self.networks is not None:
            return any(ip in network for network in self.networks)
        if isinstance(ip, IPv6Address) and ip in _NAT64:
            ip = ip_address(int(ip) & 0xFFFF_FFFF)
        if any(ip in network for network in _NOT_CAMERAS):
            return False
        return not (
            ip.is_loopback
            or ip.is_link_local
            or ip.is_multicast
            or ip.is_unspecified
            or ip.is_reserved
        )

    def denied(self, addresses: Iterable[str]) -> bool:
        """Whether one of ``addresses``, all that a name has, is not allowed."""
        return not all(self.allows(address) for address in addresses)


_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the IPv4 address in its last 32 bits is the one that is dialled."""

_NOT_CAMERAS = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network: Linux takes it for this machine
            "192.0.0.0/24",  # RFC 6890; 192.0.0.192 has the secrets of Oracle's machines
            "100.100.100.200",  # those of Alibaba's
            "fd00:ec2::254",  # those of Amazon's
            "fec0::/10",  # site-local, RFC 3879
            "2002::/16",  # 6to4, RFC 3056
            "2001::/32",  # Teredo, RFC 4380
        ),
    )
)


def addresses_of(found: Sequence[tuple[Any, ...]]) -> list[str]:
    """The addresses in what ``socket.getaddrinfo`` answered, in its order, each once."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
