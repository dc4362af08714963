"""The seam between the models API and whoever decides which models there are.

``deployments.model_admin`` implements it over the model manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import ServiceUnavailable
from app.services.catalog import CatalogEntry


@dataclass(frozen=True, slots=True)
class ModelLog:
    """The end of what a replica wrote.

    Attributes:
        replica: Its id.
        lines: The newest last.
    """

    replica: str
    lines: list[str]


class ModelAdmin(Protocol):
    """Adds, changes and removes models, and starts and stops them. Names are ids or aliases.

    All may raise ``ModelNotFound``; ``ServiceUnavailable`` when the manager or its database does not answer, in which
    case nothing has changed.
    """

    async def add(self, values: Mapping[str, Any]) -> CatalogEntry:
        """A new model, by its spec as plain values.

        Raises:
            InvalidRequest: The spec is wrong, a name of it is taken, or it could not work here; ``param`` is the field.
        """
        ...

    async def change(self, name: str, patch: Mapping[str, Any]) -> CatalogEntry:
        """Merge ``patch`` into a model's spec (RFC 7396); what runs goes on until the new version is ready.

        Raises:
            InvalidRequest: As for ``add``.
        """
        ...

    async def remove(self, name: str) -> CatalogEntry:
        """Take a model away; requests under way end as they would have."""
        ...

    async def start(self, name: str) -> CatalogEntry:
        """Let a model run, and bring it up now."""
        ...

    async def stop(self, name: str) -> CatalogEntry:
        """Let a model run no more; requests under way end as they would have."""
        ...

    async def pull(self, name: str) -> CatalogEntry:
        """Begin to fetch a model's weights, if that is not under way."""
        ...

    async def logs(self, name: str, lines: int) -> list[ModelLog]:
        """The end of what each of its replicas wrote, up to so many lines each."""
        ...


class FixedModels:
    """The admin of models that never change: for one process without Ray."""

    async def add(self, values: Mapping[str, Any]) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def change(self, name: str, patch: Mapping[str, Any]) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def remove(self, name: str) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def start(self, name: str) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def stop(self, name: str) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def pull(self, name: str) -> CatalogEntry:
        """Refuse."""
        raise _fixed()

    async def logs(self, name: str, lines: int) -> list[ModelLog]:
        """Refuse."""
        raise _fixed()


def _fixed() -> ServiceUnavailable:
    return ServiceUnavailable("The models of this installation are fixed.", code="models_fixed")
