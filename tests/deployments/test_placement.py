"""What replicas need, and how Ray is told."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.model_spec import ModelSpec
from deployments.placement import actor_options, environment, fits, group_options, lacking, needs


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"id": "m", "source": "hf://a/b", **fields})


def ray_ranks(count: int, **resources: Any) -> ModelSpec:
    args = {"tensor_parallel_size": count, "distributed_executor_backend": "ray"}
    return spec(engine_args=args, resources={"num_gpus": count, **resources})


def test_a_replica_on_one_node_asks_for_all_its_gpus_at_once():
    model = spec(engine_args={"tensor_parallel_size": 4}, resources={"num_cpus": 2, "num_gpus": 4, "memory_gb": 1.5})
    assert actor_options(model) == {"num_cpus": 2, "num_gpus": 4, "memory": 1_610_612_736}
    assert group_options(model) == {}
    assert needs(model) == [{"CPU": 2, "GPU": 4, "memory": 1_610_612_736}]


def test_a_share_of_a_gpu_and_its_kind_are_asked_for():
    model = spec(resources={"num_gpus": 0.25, "accelerator_type": "L4"})
    assert actor_options(model) == {"num_cpus": 1, "num_gpus": 0.25, "accelerator_type": "L4"}
    assert needs(model) == [{"CPU": 1, "GPU": 0.25, "accelerator_type:L4": 0.001}]


def test_ranks_that_ray_starts_get_a_bundle_each_and_the_replica_lives_in_the_first():
    model = ray_ranks(3, num_cpus=2, accelerator_type="H100", placement="SPREAD")
    rank = {"GPU": 1.0, "accelerator_type:H100": 0.001}
    assert group_options(model) == {
        "placement_group_bundles": [{"CPU": 2.0} | rank, rank, rank],
        "placement_group_strategy": "SPREAD",
    }
    assert actor_options(model) == {"num_cpus": 2, "num_gpus": 0}


@pytest.mark.parametrize(
    ("resources", "variables"),
    [
        ({}, {}),
        ({"cpu_threads": 4}, {"OMP_NUM_THREADS": "4"}),
        ({"cpu_binding": "0-3"}, {"VLLM_CPU_OMP_THREADS_BIND": "0-3"}),
        ({"cpu_threads": 4, "env": {"OMP_NUM_THREADS": "2", "A": "b"}}, {"OMP_NUM_THREADS": "2", "A": "b"}),
    ],
)
def test_threads_and_cores_become_the_environment_that_vllm_reads(resources: Any, variables: dict[str, str]):
    assert environment(spec(resources=resources)) == variables
    assert actor_options(spec(resources=resources)).get("runtime_env", {"env_vars": {}})["env_vars"] == variables


def test_what_fits_is_counted_node_by_node():
    assert fits([{"GPU": 1}, {"GPU": 1}], [{"GPU": 1}, {"GPU": 1}])
    assert fits([{"GPU": 1}, {"GPU": 1}], [{"GPU": 2}])
    assert not fits([{"GPU": 2}], [{"GPU": 1}, {"GPU": 1}])
    assert fits([{}], [{}])
    assert not fits([{}], [])


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        (spec(resources={"num_gpus": 2}), None),
        (spec(resources={"num_gpus": 3}), "GPU"),
        (spec(resources={"num_cpus": 9}), "CPU"),
        (spec(resources={"memory_gb": 1000}), "memory"),
        (spec(resources={"num_gpus": 1, "accelerator_type": "H100"}), "accelerator_type:H100"),
        (ray_ranks(4), None),
        (ray_ranks(5), "GPU"),
    ],
)
def test_what_no_node_has_is_named(model: ModelSpec, lacks: str | None):
    node = {"CPU": 8.0, "GPU": 2.0, "memory": 64 * 2.0**30}
    assert lacking(model, [node, node]) == lacks
