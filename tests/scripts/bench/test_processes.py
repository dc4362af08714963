from __future__ import annotations

import os

import psutil
import pytest

from scripts.bench.memory import Footprint, footprints, rows
from scripts.bench.processes import cpu, role, spent


@pytest.mark.parametrize(
    ("command", "name", "part"),
    [
        ("VLLM::EngineCore", "vLLM engine core", "engine"),
        ("VLLM::Worker", "vLLM worker", "engine"),
        ("python -m vllm.entrypoints.openai.api_server --model x", "vLLM API server", "front"),
        ("ray::ServeReplica:gateway:Gateway.handle_request_with_rejection", "gateway", "gateway"),
        ("ray::ServeReplica:gateway:ModelManager", "model manager", "control"),
        ("ray::ServeReplica:gateway:EmbeddedDatabase", "database keeper", "control"),
        ("ray::ServeReplica:model-tiny-llama:replica-0123456789ab", "model replica", "replica"),
        ("ray::ProxyActor", "Serve proxy", "proxy"),
        ("ray::ServeController.listen_for_change", "Serve controller", "control"),
        ("python -m deployments.local --port 1", "launcher (Ray driver)", "control"),
        ("python -m deployments.tether secantus --host 127.0.0.1", "database", "control"),
        ("/opt/something/unheard-of --flag", "unheard-of", "control"),
    ],
)
def test_a_process_is_known_by_its_command_line(command: str, name: str, part: str):
    assert role(command) == (name, part)


def test_processor_time_is_summed_by_part_and_new_processes_count_whole():
    before = {1: ("engine", 5.0), 2: ("gateway", 1.0), 4: ("gateway", 9.0)}
    after = {1: ("engine", 7.5), 2: ("gateway", 1.5), 3: ("gateway", 0.25)}
    assert spent(before, after) == {"engine": 2.5, "gateway": 0.75}


def test_a_live_process_has_used_time_and_holds_memory():
    ourselves = psutil.Process(os.getpid())
    assert cpu([ourselves])[os.getpid()][1] > 0
    (seen,) = footprints([ourselves])
    assert seen.rss > 10 * 1024**2
    assert seen.pss is None or 0 < seen.pss <= seen.rss


def test_rows_join_both_moments_with_the_largest_first_and_the_sum_last():
    idle = [Footprint(1, "small", 10, 5), Footprint(2, "gone", 20, 5)]
    loaded = [Footprint(1, "small", 15, 6), Footprint(3, "large", 90, None)]
    found = rows(idle, loaded, {1: 0.25, 3: 0.5})
    assert [row.name for row in found] == ["large", "gone", "small", "sum"]
    assert [row.idle_cpu for row in found] == [0.5, 0, 0.25, 0.75]
    assert found[0].idle is None
    assert found[1].loaded is None
    assert found[-1].idle == Footprint(0, "sum", 30, 10)
    assert found[-1].loaded == Footprint(0, "sum", 105, None)
