"""``python -m deployments.local``: the whole service with a Ray cluster of its own, until SIGTERM or SIGINT.

``manta serve`` runs this. The cluster belongs to this process: when it ends, however it ends, Ray's processes end too,
and no other cluster on the machine is touched.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from deployments import front
from deployments.ports import free_ports

ENV_FILE = Path(__file__).resolve().parent.parent / "configs" / "ray.env"
"""What every process of Ray has to know, on any cluster."""

HERE = {
    # Ray's workers, engines among them, would yield to everything else on the machine.
    "RAY_worker_niceness": "0",
    "RAY_DEDUP_LOGS": "0",
    # All of it is on this machine.
    "MANTA_LINK_HOST": "127.0.0.1",
}
"""And what is right for this one."""

PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
"""Of which several runs on a machine cannot all have the default."""

SHORT = "/tmp"  # noqa: S108 - a folder with a name of its own is made there
"""Where sockets can be: their paths may have a hundred characters, and TMPDIR's may be long."""


def main() -> int:
    """Run until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="manta-", dir=SHORT) as folder:
        for name, value in {**_env_file(), **HERE, **_of_this_run(Path(folder))}.items():
            # What the caller's environment says wins.
            os.environ.setdefault(name, value)
        # Ray Serve reads its switches while it is imported.
        standalone = import_module("deployments.standalone")
        return standalone.serve_until_stopped(options.host, options.port, dashboard=options.dashboard)


def _env_file() -> Mapping[str, str]:
    lines = (line.strip() for line in ENV_FILE.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    # A cluster that nobody else can find needs no token but the one that Ray makes itself.
    return {name: value for name, value in pairs if name != "RAY_AUTH_MODE"}


def _of_this_run(folder: Path) -> Mapping[str, str]:
    """Switches that no two runs share: HAProxy's files, in a folder that is its owner's alone, and ports."""
    haproxy = folder / "haproxy"
    haproxy.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-P", front.__file__])} "$@"\n')
    haproxy.chmod(0o700)
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        **dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main())
