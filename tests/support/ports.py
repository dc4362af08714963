"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

LATER = range(20_000, 30_000)
"""Below the ports that the system gives to whoever asks for any: Ray's processes would have one before its server."""


def bound_socket() -> socket.socket:
    """A socket on a free port, to hand to a server: nobody can take the port in between."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


def free_port() -> int:
    """A port that was free a moment ago, for servers that open their own."""
    while not _is_free(port := random.choice(LATER)):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
