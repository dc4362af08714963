from __future__ import annotations

import ipaddress

import pytest

from app.domain.origin import client_address, is_loopback

TRUSTED = [ipaddress.ip_network(network) for network in ("127.0.0.0/8", "10.0.0.0/8", "::1/128")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        # The header of somebody whom we do not know is anybody's invention.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        # What a client writes stands before what proxies add.
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", "10.1.1.1, 10.1.2.3", "10.1.1.1"),
        ("127.0.0.1", "203.0.113.9, nonsense", "127.0.0.1"),
        ("127.0.0.1", " , ,", "127.0.0.1"),
        # As a socket for both versions of IP names those who speak the older one.
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "203.0.113.9", "unknown"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_address_is_the_last_that_somebody_we_trust_saw(peer: str, forwarded: str, address: str):
    assert client_address(peer, forwarded, TRUSTED) == address


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine_has_several_names(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "example.com", "10.0.0.1", "0.0.0.0", "localhost.example.com", "[::2]", "127.1"])
def test_nothing_else_is_this_machine(host: str):
    assert not is_loopback(host)
