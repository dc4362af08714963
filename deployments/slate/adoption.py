"""Slates of the dead: whoever lives on their node brings what stands on them to the manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.services.usage.folder import SpoolFolder
from deployments.reports import Remains
from deployments.slate.file import read

logger = logging.getLogger("manta")

SLATES_FOLDER = "slates"
"""Where they are in the state folder of a node."""

LOOK_S = 1.0
"""How often is looked: well within the shortest time that gateways' drafts are kept open for others."""

Deliver = Callable[[str, list[Remains]], Awaitable[bool]]
"""Hands over what stands on a slate, by its name; whether it is kept where its end does no harm."""


class Adoption:
    """Takes dead replicas' slates over; of several who would, a lock lets one.

    Args:
        root: The folder that the replicas of a node have their slates in.
        deliver: Takes what stands on them, perhaps more than once.
    """

    def __init__(self, root: Path, deliver: Deliver) -> None:
        self._root = root
        self._deliver = deliver
        self._task: asyncio.Task[None] | None = None

    async def look(self) -> bool:
        """Take over what there is; whether nothing is left. What is left is found again the next time, by anybody.

        Raises:
            Exception: What ``deliver`` raises.
        """
        whole = True
        found = self._found()
        try:
            for folder in found:
                if await self._settle(folder):
                    folder.remove()
                else:
                    whole = False
        finally:
            for folder in found:
                folder.close()
        return whole

    def start(self) -> None:
        """Look every now and then from now on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="slates of the dead")

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _found(self) -> list[SpoolFolder]:
        try:
            return list(SpoolFolder.adopt(self._root))
        except FileNotFoundError:
            return []  # no replica has ever been here

    async def _settle(self, folder: SpoolFolder) -> bool:
        remains = [each for path in folder.files("slate") for each in read(path)]
        if not remains:
            return True
        kept = await self._deliver(folder.path.name, remains)
        if kept:
            logger.info("what %s calls had taken of a replica that died is kept: %s", len(remains), folder.path)
        return kept

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:
                logger.warning("what calls of dead replicas took was not taken yet: %s", error)
            await asyncio.sleep(LOOK_S)
