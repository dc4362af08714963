"""Manta on a Ray cluster that was there before: the README's commands, on ports and in a folder of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.readme import README, snippet

pytestmark = pytest.mark.live

ROOT = README.parent
UP_S = 120
MODEL = """
id: scripted-chat
aliases: [an-alias]
engine: scripted
resources: {num_cpus: 0.1}
"""
SECOND = """
id: second
engine: scripted
resources: {num_cpus: 0.1}
"""


@dataclass
class Cluster:
    """A Ray cluster of one node, and how its users' shells are set up."""

    folder: Path
    gcs: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    haproxy: dict[str, int | str] = field(default_factory=dict[str, "int | str"])

    def __post_init__(self) -> None:
        self.haproxy = {
            "RAY_SERVE_HAPROXY_METRICS_PORT": free_port(),
            "RAY_SERVE_HAPROXY_STATS_PORT": free_port(),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": free_port(),
            # Not in the test's folder: a socket's path may have a hundred characters.
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"/tmp/manta-test-{self.gcs}.sock",
        }

    @property
    def models(self) -> Path:
        """The folder of model files."""
        return self.folder / "models"

    @property
    def environment(self) -> dict[str, str]:
        """The shell's variables, before any of the README's."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MANTA_", "RAY_"))}
        return ours | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_ADDRESS": f"127.0.0.1:{self.gcs}",
            "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "MANTA_STATE_DIR": str(self.folder / "state"),
            "MANTA_MODELS": str(self.models),
            "PYTHONWARNINGS": "ignore",
            # Without it some of Ray's processes overwrite the environment by which the test finds them.
            "SPT_NOENV": "1",
        }

    @property
    def ports(self) -> list[str]:
        """Another test run on this machine may have the usual ones."""
        return [f"export {name}={port}" for name, port in self.haproxy.items()]

    def shell(self, script: str) -> str:
        """Run a snippet as its reader would, after the exports of the first one."""
        settings = [line for line in first_snippet().splitlines() if not line.startswith("ray ")]
        whole = "\n".join([*settings, *self.ports, script])
        done = subprocess.run(
            ["bash", "-euc", whole], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> httpx.Response:
        """Ask the service."""
        return httpx.get(f"http://127.0.0.1:{self.http}{path}", timeout=10)

    def chat(self, model: str) -> httpx.Response:
        """One chat completion, with the first key."""
        key = (self.folder / "state" / "api-key").read_text().strip()
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        url = f"http://127.0.0.1:{self.http}/v1/chat/completions"
        return httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def wait_until_ready(self, *models: str) -> None:
        """Return when exactly these models are known and ready."""
        deadline = time.monotonic() + UP_S
        states: object = None
        while states != dict.fromkeys(models, "ready"):
            assert time.monotonic() < deadline, f"{models} did not come up: {states}"
            time.sleep(0.5)
            try:
                response = self.get("/v1/models")
            except httpx.TransportError:
                continue
            states = {model["id"]: model["status"] for model in response.json().get("data", [])}

    def stop(self) -> None:
        """End the processes of this cluster, and no others: `ray stop` would end every cluster of the machine."""
        mark = str(self.folder / "state")
        members = [process for process in psutil.process_iter() if _environ(process).get("MANTA_STATE_DIR") == mark]
        for process in members:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(members, timeout=30)


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def first_snippet() -> str:
    """The README's start of a cluster."""
    return snippet("On a cluster", "sh", "ray start")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, without Manta."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.models.mkdir()
    (cluster.models / "chat.yaml").write_text(MODEL)
    (cluster.folder / "token").write_text("a" * 64)
    start = first_snippet().replace(
        "ray start --head",
        f"ray start --head --port {cluster.gcs} --dashboard-port {cluster.dashboard} --num-cpus 4",
    )
    try:
        cluster.shell(start)
        yield cluster
    finally:
        cluster.stop()


def test_serve_run_brings_up_the_whole_service(cluster: Cluster) -> None:
    """The gateway, the database, the models; callers need a key."""
    script = snippet("On a cluster", "sh", "serve run")
    script = script.replace("--http-port 8080", f"--http-port {cluster.http}")
    script = script.replace("models=configs/models", f"models={cluster.models} --non-blocking")
    cluster.shell(script)
    cluster.wait_until_ready("scripted-chat")
    response = cluster.chat("an-alias")
    assert response.status_code == 200, response.text
    assert response.json()["model"] == "an-alias"
    body = {"model": "an-alias", "messages": [{"role": "user", "content": "hello"}]}
    anonymous = httpx.post(f"http://127.0.0.1:{cluster.http}/v1/chat/completions", json=body)
    assert anonymous.status_code == 401
    assert anonymous.json()["error"]["code"] == "missing_credentials"


def test_serve_build_writes_a_config_that_names_the_application(cluster: Cluster) -> None:
    """`serve build` takes the static module and writes what `serve deploy` reads."""
    script = snippet("On a cluster", "sh", "serve build").splitlines()[0]
    written = cluster.folder / "app.yaml"
    cluster.shell(script.replace("app.yaml", str(written)))
    (application,) = yaml.safe_load(written.read_text())["applications"]
    assert application["import_path"] == "deployments.static:application"
    assert {item["name"] for item in application["deployments"]} == {"Gateway", "ModelManager", "EmbeddedDatabase"}


def test_serve_deploy_replaces_the_gateway_and_leaves_unchanged_models_alone(cluster: Cluster) -> None:
    """The shipped config, with the test's ports and models: a model is added, the other's replica is the same one."""
    (before,) = _replicas(cluster, "scripted-chat")
    (cluster.models / "second.yaml").write_text(SECOND)
    cluster.shell("python -c \"import ray; from ray import serve; ray.init(); serve.delete('default')\"")
    config = yaml.safe_load((ROOT / "configs" / "serve.yaml").read_text())
    config["http_options"]["port"] = cluster.http
    config["applications"][0]["args"]["models"] = str(cluster.models)
    shipped = cluster.folder / "serve.yaml"
    shipped.write_text(yaml.safe_dump(config))
    script = snippet("On a cluster", "sh", "serve deploy").splitlines()[1]
    cluster.shell(script.replace("configs/serve.yaml", str(shipped)))
    cluster.wait_until_ready("scripted-chat", "second")
    assert cluster.chat("second").status_code == 200
    assert [before] == _replicas(cluster, "scripted-chat")


def test_a_model_whose_file_changed_is_replaced_and_one_whose_file_went_goes(cluster: Cluster) -> None:
    """Deploying again is all that it takes."""
    (before,) = _replicas(cluster, "scripted-chat")
    (cluster.models / "chat.yaml").write_text(MODEL + "engine_args: {default_tokens: 3}\n")
    (cluster.models / "second.yaml").unlink()
    shipped = cluster.folder / "serve.yaml"
    shipped.write_text(shipped.read_text().replace("profile: production", "profile: development"))
    cluster.shell(f"serve deploy {shipped}")
    deadline = time.monotonic() + UP_S
    while _replicas(cluster, "second") or before in _replicas(cluster, "scripted-chat"):
        assert time.monotonic() < deadline, "the old replicas are still there"
        time.sleep(0.5)
    cluster.wait_until_ready("scripted-chat")
    assert cluster.chat("scripted-chat").json()["usage"]["completion_tokens"] == 3


def _replicas(cluster: Cluster, model: str) -> list[int]:
    title = f"ray::ServeReplica:model-{model}:"
    mark = str(cluster.folder / "state")
    found: list[int] = []
    for process in psutil.process_iter():
        if _environ(process).get("MANTA_STATE_DIR") == mark and " ".join(process.cmdline()).startswith(title):
            found.append(process.pid)
    return found
