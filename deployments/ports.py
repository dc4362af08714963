"""Free ports on loopback, for servers that open their own."""

from __future__ import annotations

import socket
from itertools import islice
from random import SystemRandom

LATER = range(20_000, 30_000)
"""Below the ports that the system gives to whoever asks for any: Ray's processes would have one before its server."""


def free_ports(count: int) -> list[int]:
    """So many ports that were free a moment ago."""
    return list(islice(filter(_is_free, SystemRandom().sample(LATER, len(LATER))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
