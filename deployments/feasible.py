"""Whether a spec could ever run on this cluster; said before anything is deployed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ray
from pydantic import ValidationError

from app.domain.model_spec import ModelSpec
from app.errors import InvalidRequest
from app.schemas.problem import refusal
from app.settings import ROOT
from deployments import placement
from deployments.engines.scripted.args import ScriptedArgs
from deployments.engines.vllm_args import REFUSED
from deployments.nodes import alive, on_node
from deployments.weights.source import LocalSource, WeightsError, parse

PATIENCE_S = 10.0
FIELDS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory_gb"}


async def check(spec: ModelSpec) -> None:
    """Return if the spec could run.

    Raises:
        InvalidRequest: It could not; ``param`` is the field.
    """
    _check_engine_args(spec)
    await _check_source(spec)
    await asyncio.to_thread(_check_resources, spec)


def _check_engine_args(spec: ModelSpec) -> None:
    if spec.engine == "scripted":
        try:
            ScriptedArgs.model_validate(spec.engine_args)
        except ValidationError as error:
            problem = refusal(error)
            param = f"engine_args.{problem.param}" if problem.param else "engine_args"
            message = problem.message.replace(f"`{problem.param}`", f"`{param}`")
            raise InvalidRequest(message, param=param) from None
        return
    for name in spec.engine_args:
        if why := REFUSED.get(name):
            raise InvalidRequest(f"engine_args.{name} cannot be set here, because {why}.", param=f"engine_args.{name}")


async def _check_source(spec: ModelSpec) -> None:
    if spec.source is None:
        return
    try:
        source = parse(spec.source, ROOT)
    except WeightsError as error:
        raise InvalidRequest(str(error), param="source") from None
    if isinstance(source, LocalSource) and not await _lies_somewhere(source.path):
        message = f"Nothing lies at {spec.source!r} on any node. For a hub id write hf://<organisation>/<name>."
        raise InvalidRequest(message, param="source")


async def _lies_somewhere(path: Path) -> bool:
    if await asyncio.to_thread(path.exists):
        return True
    nodes = await asyncio.to_thread(alive)
    asked = [asyncio.ensure_future(_ask(node, path)) for node in nodes]
    # A node that does not answer holds nobody up.
    done, late = await asyncio.wait(asked, timeout=PATIENCE_S)
    for each in late:
        each.cancel()
    return any(not each.exception() and each.result() for each in done)


async def _ask(node: str, path: Path) -> bool:
    return await on_node(_exists, node, str(path))


@ray.remote(num_cpus=0)
def _exists(path: str) -> bool:
    return Path(path).exists()


def _check_resources(spec: ModelSpec) -> None:
    if placement.grows():
        # Nodes may come that are larger than those that are here.
        return
    nodes = placement.total_by_node().values()
    lacks = placement.lacking(spec, nodes)
    if lacks is None:
        return
    name = f"resources.{FIELDS.get(lacks, 'accelerator_type')}"
    most = max((node.get(lacks, 0.0) for node in nodes), default=0.0)
    asked = getattr(spec.resources, name.partition(".")[2])
    most = most / 1024**3 if lacks == "memory" else most
    if lacks.startswith("accelerator_type"):
        raise InvalidRequest(f"No node of this cluster has an accelerator {asked!r}.", param=name)
    raise InvalidRequest(f"{name} is {asked:g}, but the largest node of this cluster has {most:g}.", param=name)
