"""What replicas wrote, read where it lies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ray

from app.services.model_admin import ModelLog
from deployments.nodes import on_node
from deployments.reports import LogPlace

PATIENCE_S = 10.0
LINE_CHARACTERS = 2000
END_BYTES = 4 * 1024 * 1024
"""So much of a file is looked at: logs may be large."""
RAYS_OWN = (":job_id:", ":actor_name:", ":task_name:")
"""Beginnings of lines by which Ray tells whose output follows."""


async def read_log(place: LogPlace, lines: int) -> ModelLog:
    """The last lines of a replica's output, also of one that is no more."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            found: list[str] = await on_node(_tail, place.node, place.paths, lines)
    except Exception as error:
        found = [f"(its log cannot be read: {type(error).__name__})"]
    return ModelLog(place.replica, found)


@ray.remote(num_cpus=0)
def _tail(paths: tuple[str, ...], lines: int) -> list[str]:
    return tail(paths, lines)


def tail(paths: tuple[str, ...], lines: int) -> list[str]:
    """The last lines of files, one file after the other."""
    found: list[str] = []
    for path in map(Path, paths):
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - END_BYTES))
                text = file.read().decode("utf-8", errors="replace")
            told = [line[:LINE_CHARACTERS] for line in text.splitlines() if not line.startswith(RAYS_OWN)]
            found += told[-lines:]
    return found[-lines:]
