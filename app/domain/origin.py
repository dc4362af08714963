"""Where a request comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_USER_AGENT = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """What is noted of a request that changes who may do what.

    Attributes:
        address: The client's, as far as it can be trusted.
        user_agent: What the client calls itself, shortened.
        request_id: The request's.
    """

    address: str
    user_agent: str
    request_id: str


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The address of the client behind proxies that we trust: anybody can write the header, so it is read from its end.

    Args:
        peer: Who opened the connection.
        forwarded: ``X-Forwarded-For``, empty if there is none.
        trusted: Whose word on that header counts.
    """
    address = _address(peer) or peer
    for hop in reversed([peer_ for peer_ in forwarded.split(",") if peer_.strip()]):
        if not _within(address, trusted):
            return address
        candidate = _address(hop.strip())
        if candidate is None:
            return address
        address = candidate
    return address


def is_loopback(host: str) -> bool:
    """Whether a host, as URLs name it, is this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both versions names callers of the older one so: they are no site of IPv6.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)
