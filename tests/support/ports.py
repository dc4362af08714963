"""Free ports on loopback."""

from __future__ import annotations

import socket

from deployments.ports import free_ports


def bound_socket() -> socket.socket:
    """A socket on a free port, to hand to a server: nobody can take the port in between."""
    # By name: asyncio sends small packets at once on sockets alone that say that they are TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


def free_port() -> int:
    """A port that was free a moment ago, for servers that open their own."""
    return free_ports(1)[0]
