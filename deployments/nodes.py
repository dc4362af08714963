"""Work on particular nodes of the cluster."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def alive() -> list[str]:
    """The ids of the nodes that live, in hex; blocks."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def on_node(task: Any, node: str, *args: Any, **options: Any) -> Any:
    """Call a remote function there, with these options of Ray's; its reference. Fails if the node goes."""
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    return task.options(scheduling_strategy=here, **options).remote(*args)
