"""``python -m deployments.local``: the whole service with a Ray cluster of its own, until SIGTERM or SIGINT.

``manta serve`` runs this. The cluster belongs to this process: when it ends, however it ends, Ray's processes end too,
and no other cluster on the machine is touched.
"""

from __future__ import annotations

import argparse
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

RAY_DEFAULTS = {
    # Processes that an actor leaves behind (an engine's workers, after a kill) are ended by the node's own daemon.
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
    # Ray's workers, engines among them, would yield to everything else on the machine.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.proxy:middlewares",
}


def main() -> int:
    """Run until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too")
    options = parser.parse_args()

    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    for name, value in RAY_DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        settings = Settings.load()
        # Who can reach a loopback address sits at this machine.
        development = "profile" not in settings.model_fields_set and _is_loopback(options.host)
        application = build(AppArgs(profile="development" if development else None))
    except (SettingsError, ModelFileError) as error:
        return _fail(str(error))

    try:
        _start_ray(dashboard=options.dashboard)
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
            _start(application, options.host, options.port)
        return _wait(stop)
    finally:
        address.unlink(missing_ok=True)
        _shut_down()


def _start_ray(*, dashboard: bool) -> None:
    ray.init(
        address="local",
        include_dashboard=dashboard,
        # Nothing of Ray is for other machines to reach.
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
        if gateway is not None and gateway.status == ApplicationStatus.DEPLOY_FAILED:
            return _fail(f"the gateway could not be started: {gateway.message}")
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


if __name__ == "__main__":
    sys.exit(main())
