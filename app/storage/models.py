"""What was said of models at run time: the installation's own, so without an owner in its filters."""

from __future__ import annotations

from dataclasses import asdict, fields

from app.domain.model_record import ModelRecord
from app.storage.database import Database, Document

KNOWN = {field.name for field in fields(ModelRecord)} - {"id"}

MOST = 10_000
"""Records that are read: more models than any installation has."""


class ModelRecords:
    """The collection ``models``, written by the model manager alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = database.collection("models")

    async def all(self) -> list[ModelRecord]:
        """Every record there is.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            documents = await self._records.find({}).to_list(MOST)
        return [_record(document) for document in documents]

    async def put(self, record: ModelRecord) -> None:
        """Store a record in place of the one of this model.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        document = asdict(record)
        id_ = document.pop("id")
        async with self._database.operation():
            await self._records.replace_one({"_id": id_}, document, upsert=True)

    async def drop(self, id_: str) -> None:
        """Forget what was said of a model.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._records.delete_one({"_id": id_})


def _record(document: Document) -> ModelRecord:
    # Another version of this program may have kept more.
    return ModelRecord(document["_id"], **{name: document[name] for name in KNOWN & document.keys()})
