"""Which models there should be: the files, and what was said at run time on top of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from app.domain.model_record import ModelRecord
from app.domain.model_spec import ModelSpec
from app.errors import InvalidRequest, ModelNotFound
from app.schemas.json_body import is_object
from app.schemas.problem import refusal

logger = logging.getLogger("manta")

Check = Callable[[ModelSpec], Awaitable[None]]
"""Raises InvalidRequest for a spec that cannot work here."""


class RecordStore(Protocol):
    """Where records outlive this process: ``app.storage.models.ModelRecords``."""

    async def all(self) -> list[ModelRecord]:
        """Every record there is."""
        ...

    async def put(self, record: ModelRecord) -> None:
        """Store a record in place of the one of this model."""
        ...

    async def drop(self, id_: str) -> None:
        """Forget what was said of a model."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model there should be.

    Attributes:
        enabled: Whether it may run.
        created: Unix seconds at which it became known.
    """

    spec: ModelSpec
    enabled: bool = True
    created: int = 0


class Registry:
    """Desired state. Every change is stored first and true then; wrong ones change nothing.

    Args:
        files: The models of the YAML files.
        store: Where changes are kept.
        least_replicas: Of models that do not say how many they have at the least.
        clock: Unix seconds.
    """

    def __init__(
        self,
        files: Iterable[ModelSpec],
        store: RecordStore,
        least_replicas: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = {spec.id: spec for spec in files}
        self._store = store
        self._least_replicas = least_replicas
        self._clock = clock
        self._records: dict[str, ModelRecord] = {}
        self._born = int(clock())
        self._wanted = self._merge()

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """Every model there should be, by id."""
        return self._wanted

    def get(self, name: str) -> Wanted:
        """The model with this id or alias.

        Raises:
            ModelNotFound: There is none.
        """
        for wanted in self._wanted.values():
            if name == wanted.spec.id or name in wanted.spec.aliases:
                return wanted
        raise ModelNotFound(f"The model {name[:128]!r} does not exist.", param="model")

    async def load(self) -> None:
        """Read what was said before.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        self._records = {record.id: record for record in await self._store.all()}
        self._wanted = self._merge()

    async def add(self, values: Mapping[str, Any], check: Check) -> Wanted:
        """A new model.

        Raises:
            InvalidRequest: The spec is wrong, or a name of it is taken; ``param`` is the field.
            DatabaseUnavailable: The database did not answer; nothing has changed.
        """
        spec = _validated(values)
        if spec.id in self._wanted:
            raise InvalidRequest(
                f"There is a model {spec.id!r} already. PATCH it to change it.", param="id", code="model_exists"
            )
        return await self._set(spec, check, created=int(self._clock()))

    async def change(self, name: str, patch: Mapping[str, Any], check: Check) -> Wanted:
        """Change a model: as RFC 7396 merges JSON, so that null brings a field back to its default.

        Raises:
            ModelNotFound: There is none of this id.
            InvalidRequest: As for ``add``.
            DatabaseUnavailable: The database did not answer; nothing has changed.
        """
        before = self.get(name)
        said = self._said[before.spec.id].model_dump(mode="json", exclude_unset=True)
        spec = _validated(_merged(said, patch))
        if spec.id != before.spec.id:
            raise InvalidRequest("A model's id cannot be changed: add another model.", param="id")
        return await self._set(spec, check, created=before.created, enabled=before.enabled)

    async def remove(self, name: str) -> Wanted:
        """Take a model away, which is what it was; one that a file names stays away until that file changes.

        Raises:
            ModelNotFound: There is none of this id.
            DatabaseUnavailable: The database did not answer; nothing has changed.
        """
        before = self.get(name)
        id_ = before.spec.id
        if (file := self._files.get(id_)) is not None:
            await self._keep(ModelRecord(id_, removed=True, file_digest=file.full_digest, created=self._born))
        else:
            await self._store.drop(id_)
            del self._records[id_]
            self._wanted = self._merge()
        return before

    async def enable(self, name: str, *, enabled: bool) -> Wanted:
        """Say whether a model may run.

        Raises:
            ModelNotFound: There is none of this id.
            DatabaseUnavailable: The database did not answer; nothing has changed.
        """
        before = self.get(name)
        id_ = before.spec.id
        if before.enabled != enabled:
            record = self._records.get(id_)
            if record is None or self._is_superseded(record):
                record = ModelRecord(id_, created=before.created)
            await self._keep(replace(record, enabled=enabled))
        return self._wanted[id_]

    async def _set(self, spec: ModelSpec, check: Check, *, created: int, enabled: bool = True) -> Wanted:
        self._check_names(spec)
        await check(spec)
        file = self._files.get(spec.id)
        text = spec.model_dump_json(exclude_unset=True)
        file_digest = file.full_digest if file else None
        await self._keep(ModelRecord(spec.id, text, enabled=enabled, file_digest=file_digest, created=created))
        return self._wanted[spec.id]

    async def _keep(self, record: ModelRecord) -> None:
        await self._store.put(record)
        self._records[record.id] = record
        self._wanted = self._merge()

    def _check_names(self, spec: ModelSpec) -> None:
        others = [wanted.spec for wanted in self._wanted.values() if wanted.spec.id != spec.id]
        owners = {name: other.id for other in others for name in (other.id, *other.aliases)}
        for place, name in [("id", spec.id), *((f"aliases[{i}]", alias) for i, alias in enumerate(spec.aliases))]:
            if name in owners:
                message = f"The name {name!r} belongs to the model {owners[name]!r}."
                raise InvalidRequest(message, param=place, code="model_exists")

    def _merge(self) -> dict[str, Wanted]:
        wanted = {id_: self._laid_over(file, self._records.get(id_)) for id_, file in self._files.items()}
        added = {id_: record for id_, record in self._records.items() if id_ not in self._files}
        wanted |= {id_: _wanted_by(record) for id_, record in added.items()}
        there = {id_: each for id_, each in sorted(wanted.items()) if each is not None}
        # What nobody said stays unsaid: it is the installation's, which may change its mind.
        self._said = {id_: each.spec for id_, each in there.items()}
        return {id_: self._completed(each) for id_, each in there.items()}

    def _completed(self, wanted: Wanted) -> Wanted:
        return replace(wanted, spec=wanted.spec.with_least_replicas(self._least_replicas))

    def _is_superseded(self, record: ModelRecord) -> bool:
        """Whether the file was edited after what the record says of the spec."""
        file = self._files.get(record.id)
        return file is not None and record.file_digest is not None and record.file_digest != file.full_digest

    def _laid_over(self, file: ModelSpec, record: ModelRecord | None) -> Wanted | None:
        if record is None:
            return Wanted(file, created=self._born)
        if self._is_superseded(record) or (record.spec is None and not record.removed):
            return Wanted(file, record.enabled or record.removed, record.created or self._born)
        return None if record.removed else _wanted_by(record)


def _wanted_by(record: ModelRecord) -> Wanted | None:
    if record.spec is None:
        return None
    try:
        spec = ModelSpec.model_validate_json(record.spec)
    except ValidationError as error:
        # Stored by another version of this program: one such model must not keep the others from running.
        logger.warning("the stored model %s is left out: %s", record.id, refusal(error).message)
        return None
    return Wanted(spec, record.enabled, record.created)


def _validated(values: Mapping[str, Any]) -> ModelSpec:
    try:
        return ModelSpec.model_validate(dict(values))
    except ValidationError as error:
        raise refusal(error) from None


def _merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif is_object(value):
            below = merged.get(name)
            merged[name] = _merged(below if is_object(below) else {}, value)
        else:
            merged[name] = value
    return merged
