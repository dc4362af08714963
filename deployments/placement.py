"""What a replica needs of its nodes, and whether nodes have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray._private import (
    state as books,  # its functions are what ``ray status`` counts by; no public ones tell nodes apart
)

from app.domain.model_spec import ModelSpec

Need = Mapping[str, float]
"""Amounts by Ray's names of resources."""

TRACE = 0.001
"""What Ray itself asks of a node that has an accelerator type."""


def actor_options(spec: ModelSpec) -> dict[str, Any]:
    """Ray's options of a replica's actor."""
    resources = spec.resources
    options: dict[str, Any] = {"num_cpus": resources.num_cpus}
    if resources.memory_gb is not None:
        options["memory"] = int(resources.memory_gb * 1024**3)
    if spans_nodes(spec):
        # The GPUs are its ranks', each an actor in a bundle of its own.
        options["num_gpus"] = 0
    else:
        options["num_gpus"] = resources.num_gpus
        if resources.accelerator_type is not None:
            options["accelerator_type"] = resources.accelerator_type
    if env := environment(spec):
        options["runtime_env"] = {"env_vars": env}
    return options


def environment(spec: ModelSpec) -> dict[str, str]:
    """The environment of a replica's process, as far as its spec says."""
    resources = spec.resources
    threads = {} if resources.cpu_threads is None else {"OMP_NUM_THREADS": str(resources.cpu_threads)}
    binding = {} if resources.cpu_binding == "nobind" else {"VLLM_CPU_OMP_THREADS_BIND": resources.cpu_binding}
    return threads | binding | resources.env


def group_options(spec: ModelSpec) -> dict[str, Any]:
    """Serve's options for a replica whose ranks may lie on several nodes; none for another."""
    if not spans_nodes(spec):
        return {}
    return {
        "placement_group_bundles": [dict(each) for each in needs(spec)],
        "placement_group_strategy": spec.resources.placement,
    }


def spans_nodes(spec: ModelSpec) -> bool:
    """Whether Ray starts the engine's ranks, each where there is a GPU for it."""
    return spec.engine == "vllm" and spec.engine_args.get("distributed_executor_backend") == "ray"


def needs(spec: ModelSpec) -> list[Need]:
    """What has to be there at once, each of it on one node."""
    resources = spec.resources
    own: dict[str, float] = {"CPU": resources.num_cpus}
    if resources.memory_gb is not None:
        own["memory"] = float(int(resources.memory_gb * 1024**3))
    device: dict[str, float] = {"GPU": 1.0 if spans_nodes(spec) else resources.num_gpus}
    if resources.accelerator_type is not None:
        device[f"accelerator_type:{resources.accelerator_type}"] = TRACE
    ranks = spec.ranks if spans_nodes(spec) else 1
    bundles = [own | device, *([device] * (ranks - 1))]
    return [{name: amount for name, amount in bundle.items() if amount} for bundle in bundles]


def fits(wanted: Iterable[Need], nodes: Iterable[Need]) -> bool:
    """Whether there is room for all of it, taking the first node that has room for each."""
    left = [dict(node) for node in nodes]
    for need in wanted:
        room = next((node for node in left if _holds(node, need)), None)
        if room is None:
            return False
        for name, amount in need.items():
            room[name] -= amount
    return True


def lacking(spec: ModelSpec, nodes: Iterable[Need]) -> str | None:
    """The resource that no node has enough of, even if it were empty; None if one has all."""
    nodes = list(nodes)
    if fits(needs(spec), nodes):
        return None
    for need in needs(spec):
        for name, amount in need.items():
            if not any(node.get(name, 0.0) >= amount for node in nodes):
                return name
    return "GPU" if spec.resources.num_gpus else "CPU"


def free_by_node() -> Mapping[str, Need]:
    """What is free now, by node id; blocks."""
    return books.available_resources_per_node()


def total_by_node() -> Mapping[str, Need]:
    """What there is, by node id; blocks."""
    return books.total_resources_per_node()


def grows() -> bool:
    """Whether an autoscaler may add nodes of which nothing is known yet; blocks."""
    config = books.state.get_cluster_config()
    return bool(config is not None and config.node_group_configs)


def _holds(node: Need, need: Need) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in need.items())
