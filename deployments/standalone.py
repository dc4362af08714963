"""A Ray cluster of this process's own, with the whole service on it, until SIGTERM or SIGINT.

``deployments.local`` sets the switches that Ray reads while it is imported, and only then imports this.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from ipaddress import ip_address

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import ApplicationStatus

from app.services.model_files import ModelFileError
from app.settings import Settings, SettingsError
from deployments.main import AppArgs, build

GATEWAY_APP = "gateway"
POLL_S = 3.0
ORDERLY_S = 10.0


def serve_until_stopped(host: str, port: int, *, dashboard: bool) -> int:
    """Run until told to stop; the exit status."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        settings = Settings.load()
        # Who can reach a loopback address sits at this machine.
        development = "profile" not in settings.model_fields_set and _is_loopback(host)
        application = build(AppArgs(profile="development" if development else None))
    except (SettingsError, ModelFileError) as error:
        return _fail(str(error))

    try:
        _start_ray(dashboard=dashboard)
    except Exception as error:
        # On a machine that is busy enough, Ray gives up on its own processes.
        return _fail(f"Ray could not be started on this machine; try again when it is less busy. Ray says: {error}")
    # Ray has a SIGTERM handler of its own by now.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    # For whoever wants to look inside: ray status --address "$(cat .manta/ray-address)"
    address = settings.state_dir / "ray-address"
    address.write_text(ray.get_runtime_context().gcs_address)
    try:
        if not stop.is_set():
            _start(application, host, port)
        return _wait(stop)
    finally:
        address.unlink(missing_ok=True)
        _shut_down()


def _start_ray(*, dashboard: bool) -> None:
    ray.init(
        address="local",
        include_dashboard=dashboard,
        # Ray makes the machine's own address of this and listens on others too: its token is what keeps others out.
        _node_ip_address="127.0.0.1",
        # Logical CPUs say what may run side by side; on a laptop everything may.
        num_cpus=max(os.cpu_count() or 1, 4),
        logging_level=logging.WARNING,
        log_to_driver=True,
    )


def _start(application: serve.Application, host: str, port: int) -> None:
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=host, port=port),
    )
    serve.run(application, name=GATEWAY_APP, route_prefix="/", blocking=False)


def _wait(stop: threading.Event) -> int:
    while not stop.wait(POLL_S):
        gateway = serve.status().applications.get(GATEWAY_APP)
        if gateway is None:
            continue
        if gateway.status == ApplicationStatus.DEPLOY_FAILED:
            return _fail(f"the gateway could not be started: {gateway.message}")
        if gateway.status == ApplicationStatus.RUNNING:
            # From here on Serve looks after it; to go on asking would cost all that runs here a part of a core.
            stop.wait()
    return 0


def _shut_down() -> None:
    started = time.monotonic()
    # In order first; whoever wants more time than that (a stream under way, an engine) ends with the cluster.
    orderly = threading.Thread(target=serve.shutdown, daemon=True)
    orderly.start()
    orderly.join(ORDERLY_S)
    ray.shutdown()
    print(f"stopped in {time.monotonic() - started:.1f} s", flush=True)  # noqa: T201


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return 1
