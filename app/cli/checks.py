"""What has to be true before anything is started."""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path

import psutil

from app.cli.errors import CliError

NEEDED_BYTES = 1024**3
"""Free space for logs, database and Ray's files, besides the weights, which check for themselves."""


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state folder, its owner's alone.

    Raises:
        CliError: It cannot be made or written, or its disk is almost full.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state_dir / "logs").mkdir(exist_ok=True)
        probe = state_dir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CliError(
            f"Cannot write to the state folder {state_dir}: {error.strerror}. Set MANTA_STATE_DIR to another."
        ) from None
    free = shutil.disk_usage(state_dir).free
    if free < NEEDED_BYTES:
        raise CliError(
            f"Only {free / 1e6:.0f} MB are free on the disk that holds {state_dir}; {NEEDED_BYTES / 1e6:.0f} MB are "
            "needed. Free some, or set MANTA_STATE_DIR to a folder on a larger disk."
        )


def check_port(host: str, port: int) -> None:
    """Make sure that the service will be able to listen.

    Raises:
        CliError: The port is taken (says by whom, where that can be known) or the address is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise CliError(f"{host!r} is no address of this machine. Try --host 127.0.0.1.", exit_code=2) from None
    with socket.socket(family, kind, protocol) as probe:
        # as the server does: a port whose last connections are still closing is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise CliError(_why_not(error, host, port)) from None


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            another = port + 1 if port < 65535 else 8080
            return f"Port {port} is taken{_by_whom(port)}. Stop that, or choose another: --port {another}."
        case errno.EACCES:
            return f"This user may not listen on port {port}. Choose one above 1023, such as --port 8080."
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine. Try --host 127.0.0.1, or 0.0.0.0 for all of them."
        case _:
            return f"Cannot listen on {host}:{port}: {error.strerror}."


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass  # another user's: then it stays unknown
    return ""
