"""A cluster as Ray makes it without our switches: Serve's own HTTP proxy, and a model on another node.

Both nodes are on this machine, each with an address of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from app.domain.model_spec import ModelSpec
from app.services.model_files import load_models
from tests.support.cluster import Cluster
from tests.support.inside import Inside

pytestmark = pytest.mark.live

HERE, THERE = "127.0.0.2", "127.0.0.3"
TOKENS = 40
PROMISE_S = 1
STARTED_S = 30
METRICS_S = 30
FAR = """
id: far
engine: scripted
engine_args: {tokens_per_s: 40, default_tokens: 40}
resources: {num_cpus: 0, num_gpus: 0.5}
"""
LOST = """
id: lost
engine: scripted
engine_args: {default_tokens: 40}
resources: {num_cpus: 0, num_gpus: 0.5}
"""
SETTINGS = (
    "export PYTHONPATH=$PWD RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0",
    "export RAY_metrics_report_interval_ms=1000",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes; only the second has what the models need, and only the first has processors."""
    cluster = Cluster(tmp_path_factory.mktemp("nodes"), SETTINGS, HERE)
    cluster.models.mkdir()
    for name, text in {"far": FAR, "lost": LOST}.items():
        (cluster.models / f"{name}.yaml").write_text(text)
    first = f"--head --node-ip-address {HERE} --port {cluster.gcs} --dashboard-port {cluster.dashboard}"
    try:
        cluster.shell(f"ray start {first} --num-cpus 4 --num-gpus 0")
        cluster.shell(f"ray start --node-ip-address {THERE} --address {cluster.ray_address} --num-cpus 0 --num-gpus 1")
        cluster.shell(f"serve start --http-port {cluster.http} --proxy-location HeadOnly")
        cluster.shell(f"serve run deployments.main:build models={cluster.models} --non-blocking")
        cluster.wait_until_ready("far", "lost")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def inside(cluster: Cluster) -> Iterator[Inside]:
    """A driver on the cluster."""
    with Inside(cluster.ray_address, auth_mode="disabled") as inside:
        yield inside


def spec_of(cluster: Cluster, model: str) -> ModelSpec:
    """The model's spec, as the running service has it."""
    (spec,) = [spec for spec in load_models(str(cluster.models)) if spec.id == model]
    return spec


def text_of(cluster: Cluster, model: str) -> str:
    """A streamed answer; fails unless it is whole, one event a token."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    url = f"{cluster.openai_url}/chat/completions"
    with httpx.stream("POST", url, json=body, headers=cluster.auth, timeout=60) as response:
        assert response.status_code == 200
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
    assert len([delta for delta in deltas if delta]) == TOKENS
    return "".join(delta or "" for delta in deltas)


def test_the_gateway_reaches_a_model_on_another_node_by_a_link(cluster: Cluster) -> None:
    """An answer and a stream say the same; their bytes come over a connection to the other node's address."""
    (replica,) = cluster.processes("ray::ServeReplica:model-far@")
    (gateway,) = cluster.processes("ray::ServeReplica:default:Gateway")
    assert replica.ppid() != gateway.ppid(), "both are on one node"
    assert not [process for process in cluster.processes() if process.name() == "haproxy"]
    whole = cluster.chat("far")
    assert whole.status_code == 200, whole.text
    assert text_of(cluster, "far") == whole.json()["choices"][0]["message"]["content"]
    doors = {each.laddr for each in replica.net_connections() if each.status == psutil.CONN_LISTEN}
    links = [each for each in gateway.net_connections() if each.raddr in doors and each.raddr.ip == THERE]
    assert len(links) == 1


def test_a_client_that_leaves_stops_an_engine_on_another_node(cluster: Cluster, inside: Inside) -> None:
    """Serve's own proxy tells the gateway, the gateway tells the replica."""
    far = spec_of(cluster, "far")
    body = {"model": "far", "messages": [{"role": "user", "content": "go on"}], "stream": True}
    body |= {"max_tokens": 4000, "ignore_eos": True}
    url = f"{cluster.openai_url}/chat/completions"
    with httpx.stream("POST", url, json=body, headers=cluster.auth, timeout=60) as response:
        lines = response.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        inside.wait_until_running(far, 1, STARTED_S)
    time.sleep(PROMISE_S)
    assert inside.of(far)["running"] == 0


def test_where_a_replica_cannot_be_reached_the_handle_carries_the_bytes_and_it_is_counted(
    cluster: Cluster, inside: Inside
) -> None:
    """Answers are as right as ever; how many took the long way can be read off the cluster's metrics."""
    lost = spec_of(cluster, "lost")
    inside.misplace(lost)
    whole = cluster.chat("lost")
    assert whole.status_code == 200, whole.text
    for _ in range(2):
        assert text_of(cluster, "lost") == whole.json()["choices"][0]["message"]["content"]
    deadline = time.monotonic() + METRICS_S
    while (counted := inside.detours(lost)) < 3:
        assert time.monotonic() < deadline, f"{counted} of 3 detours were counted"
        time.sleep(0.2)
    assert counted == 3
    assert inside.detours(spec_of(cluster, "far")) == 0
