"""Messages over a Unix socket: JSON with its length before it, and file descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

HEAD = struct.Struct("!I")
MAX_FDS = 64

Message = dict[str, Any]


def send(connection: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        OSError: The other side is gone.
    """
    body = json.dumps(message).encode()
    socket.send_fds(connection, [HEAD.pack(len(body))], fds)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None when the other side is gone.

    Raises:
        OSError: It did not come whole, or not in the connection's time.
    """
    head, fds, _, _ = socket.recv_fds(connection, HEAD.size, MAX_FDS)
    if not head:
        return None
    try:
        (length,) = HEAD.unpack(head + _exactly(connection, HEAD.size - len(head)))
        return json.loads(_exactly(connection, length)), list(fds)
    except OSError:
        close(fds)
        raise


def close(fds: Iterable[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            raise ConnectionResetError("the message was cut off")
        found += part
    return bytes(found)
