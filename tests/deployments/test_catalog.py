"""A gateway's view of the models follows the manager's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.services.catalog import Catalog, CatalogEntry
from deployments import catalog as module
from deployments.catalog import WatchedCatalog
from tests.support.gateway import scripted

pytestmark = pytest.mark.usefixtures("clean_loop")


class Manager:
    """Has models, of which more can come; can be away."""

    def __init__(self) -> None:
        self.version = 7
        self.entries = [CatalogEntry(scripted("a"))]
        self.changed = asyncio.Event()
        self.away = False
        self.watch = SimpleNamespace(remote=self._watch)

    def add(self, id_: str) -> int:
        self.entries.append(CatalogEntry(scripted(id_)))
        self.version += 1
        self.changed.set()
        return self.version

    async def _watch(self, version: int) -> tuple[int, list[CatalogEntry]]:
        if self.away:
            raise RuntimeError("restarting")
        while version == self.version:
            self.changed.clear()
            await self.changed.wait()
        return self.version, list(self.entries)


def watched(manager: Manager) -> WatchedCatalog:
    return WatchedCatalog(cast(Any, manager))


async def test_what_the_manager_says_is_seen_by_who_waits_for_it_and_who_listens():
    manager = Manager()
    catalog = watched(manager)
    told: list[list[str]] = []
    await catalog.start()
    assert list(catalog.current().entries) == ["a"]

    def tell(view: Catalog) -> None:
        told.append(list(view.entries))

    catalog.on_change(tell)
    await catalog.reached(manager.add("b"), 5)
    assert list(catalog.current().entries) == ["a", "b"]
    assert told == [["a", "b"]]
    await catalog.stop()


async def test_nobody_waits_for_ever_for_a_view():
    catalog = watched(Manager())
    await catalog.reached(99, 0.02)
    assert not catalog.current().entries


async def test_a_manager_that_is_away_leaves_the_last_view(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    manager = Manager()
    catalog = watched(manager)
    await catalog.start()
    manager.away = True
    version = manager.add("b")
    await catalog.reached(version, 0.05)
    assert list(catalog.current().entries) == ["a"]
    manager.away = False
    await catalog.reached(version, 5)
    assert list(catalog.current().entries) == ["a", "b"]
    await catalog.stop()
