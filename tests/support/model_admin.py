"""Models that can be changed, without Ray: the real registry, and states that a test can set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.domain.model_record import ModelRecord
from app.domain.model_spec import ModelSpec
from app.domain.model_state import ModelState, PullState
from app.services.catalog import Catalog, CatalogEntry
from app.services.model_admin import ModelLog
from app.services.registry import Registry


class Records:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: dict[str, ModelRecord] = {}

    async def all(self) -> list[ModelRecord]:
        return list(self.records.values())

    async def put(self, record: ModelRecord) -> None:
        self.records[record.id] = record

    async def drop(self, id_: str) -> None:
        self.records.pop(id_, None)


class ChangingModels:
    """A ``ModelAdmin`` and the ``CatalogSource`` that shows what it did.

    Attributes:
        states: What a model is doing, by id.
    """

    def __init__(self, entries: Sequence[CatalogEntry]) -> None:
        self.registry = Registry([entry.spec for entry in entries], Records())
        self.states = {entry.spec.id: entry.state for entry in entries}

    def current(self) -> Catalog:
        return Catalog.of(self._entry(id_) for id_ in self.registry.wanted)

    async def add(self, values: Mapping[str, Any]) -> CatalogEntry:
        return self._entry((await self.registry.add(values, self._check)).spec.id)

    async def change(self, name: str, patch: Mapping[str, Any]) -> CatalogEntry:
        return self._entry((await self.registry.change(name, patch, self._check)).spec.id)

    async def remove(self, name: str) -> CatalogEntry:
        entry = self._entry(self.registry.get(name).spec.id)
        await self.registry.remove(name)
        return entry

    async def start(self, name: str) -> CatalogEntry:
        id_ = (await self.registry.enable(name, enabled=True)).spec.id
        self.states[id_] = ModelState("ready", replicas=1)
        return self._entry(id_)

    async def stop(self, name: str) -> CatalogEntry:
        id_ = (await self.registry.enable(name, enabled=False)).spec.id
        self.states[id_] = ModelState("disabled")
        return self._entry(id_)

    async def pull(self, name: str) -> CatalogEntry:
        id_ = self.registry.get(name).spec.id
        self.states[id_] = replace(self._entry(id_).state, pull=PullState("done", 1.0, "in place on 1 node"))
        return self._entry(id_)

    async def logs(self, name: str, lines: int) -> list[ModelLog]:
        self.registry.get(name)
        return [ModelLog("0a0b", [f"line {number}" for number in range(1, 4)][-lines:])]

    def _entry(self, id_: str) -> CatalogEntry:
        wanted = self.registry.wanted[id_]
        return CatalogEntry(wanted.spec, self.states.get(id_, ModelState()), wanted.created)

    async def _check(self, spec: ModelSpec) -> None:
        """Everything works here."""
