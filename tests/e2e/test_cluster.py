"""Manta on a Ray cluster that was there before: the README's commands, on ports and in a folder of the test's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.cluster import ROOT, UP_S, Cluster
from tests.support.ports import free_port
from tests.support.readme import snippet

pytestmark = pytest.mark.live

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


def first_snippet() -> str:
    """The README's start of a cluster."""
    return snippet("On a cluster", "sh", "ray start")


def settings(folder: Path) -> list[str]:
    """The exports of that, a token, and other ports than the usual ones: another test run may have these."""
    token = f"export RAY_AUTH_TOKEN_PATH={folder / 'token'}"
    own = {
        "RAY_SERVE_HAPROXY_METRICS_PORT": free_port(),
        "RAY_SERVE_HAPROXY_STATS_PORT": free_port(),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": free_port(),
        # Not in the test's folder: a socket's path may have a hundred characters.
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"/tmp/manta-test-{free_port()}.sock",
    }
    lines = [line for line in first_snippet().splitlines() if not line.startswith("ray ")]
    return [*lines, token, *(f"export {name}={value}" for name, value in own.items())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, without Manta."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, settings(folder))
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
    return [process.pid for process in cluster.processes(f"ray::ServeReplica:model-{model}@")]
