"""Which models there are, by id or alias, and how each is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.domain.model_spec import Capability, ModelSpec
from app.domain.model_state import ModelState
from app.errors import InvalidRequest, ModelDisabled, ModelFailed, ModelNotFound


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model and its state.

    Attributes:
        created: Unix seconds at which the model became known.
    """

    spec: ModelSpec
    state: ModelState = field(default_factory=ModelState)
    created: int = 0


@dataclass(frozen=True)
class Catalog:
    """An immutable view of all models, replaced whole when something changes."""

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict[str, CatalogEntry])
    names: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, entries: Iterable[CatalogEntry]) -> Catalog:
        """Index models by id and alias; an id wins over another model's alias."""
        by_id = {entry.spec.id: entry for entry in entries}
        names = {alias: id_ for id_, entry in by_id.items() for alias in entry.spec.aliases}
        return cls(by_id, names | {id_: id_ for id_ in by_id})

    def get(self, name: str) -> CatalogEntry:
        """The model with this id or alias.

        Raises:
            ModelNotFound: There is none; the message lists what there is.
        """
        id_ = self.names.get(name)
        if id_ is None:
            known = ", ".join(sorted(self.entries)[:20]) or "none yet"
            raise ModelNotFound(f"The model {name[:128]!r} does not exist. Models here: {known}.", param="model")
        return self.entries[id_]

    def able(self, name: str, capability: Capability | None) -> CatalogEntry:
        """The model with this name, if it can do what is asked of it (None: anything can).

        Raises:
            ModelNotFound: There is none.
            InvalidRequest: It cannot; the message names models that can.
        """
        entry = self.get(name)
        if capability is None or capability in entry.spec.capabilities:
            return entry
        able = sorted(id_ for id_, other in self.entries.items() if capability in other.spec.capabilities)
        raise InvalidRequest(
            f"The model {name!r} does not support {capability}. Models that do: {', '.join(able) or 'none'}.",
            param="model",
            code="unsupported_capability",
        )


def check_available(entry: CatalogEntry) -> None:
    """Return unless waiting for the model would be in vain.

    Raises:
        ModelFailed: It could not be started.
        ModelDisabled: It is switched off.
    """
    if entry.state.status == "failed":
        reason = entry.state.detail or "see its log"
        message = f"The model {entry.spec.id!r} could not be started: {reason}."
        raise ModelFailed(message, retry_after_s=retry_after_s(entry.state) or 30)
    if entry.state.status == "disabled":
        raise ModelDisabled(f"The model {entry.spec.id!r} is switched off.")


def retry_after_s(state: ModelState, now: Callable[[], float] = time.time) -> float | None:
    """In how many seconds a model that does not answer now may, by what its last start took; None if nobody knows."""
    if state.retry_at is not None:
        return max(1.0, state.retry_at - now())
    if state.start is None:
        return None
    return max(1.0, state.start.total_s - (now() - state.started_at if state.started_at is not None else 0.0))


class CatalogSource(Protocol):
    """Where the current catalog is read from: a memory access, never a call."""

    def current(self) -> Catalog:
        """The newest catalog known to this process."""
        ...


@dataclass(frozen=True, slots=True)
class StaticCatalog:
    """A catalog that never changes: for one process without Ray, and for tests."""

    catalog: Catalog

    def current(self) -> Catalog:
        """The catalog given."""
        return self.catalog
