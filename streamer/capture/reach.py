"""Which addresses a camera may have that was added over HTTP. Looks up nothing by itself.

Whoever may add a camera makes streamer dial an address of his choice from where it stands. So an
address is looked at after the name was looked up, all of them must be allowed, and the one that
was looked at is the one that is dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that are allowed.

    ``networks``: those inside one of them. None: all but those of this machine itself
    (loopback, and the unspecified address that means the same), link-local ones (cloud machines
    keep their secrets at 169.254.169.254), multicast and reserved ones.
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
        if ip.version == 4 and ip in _THIS_NETWORK:
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


_THIS_NETWORK = IPv4Network("0.0.0.0/8")


def addresses_of(found: Sequence[tuple[Any, ...]]) -> list[str]:
    """The addresses in what ``socket.getaddrinfo`` answered, in its order, each once."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
