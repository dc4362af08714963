from __future__ import annotations

from app.domain.model_record import ModelRecord
from app.storage.database import Database
from app.storage.models import ModelRecords


async def test_records_are_kept_whole_and_one_for_each_model(database: Database):
    records = ModelRecords(database)
    odd = ModelRecord("org/m", '{"engine_args": {"a.b": {"$set": 1}}}', enabled=False, file_digest="0a", created=7)
    await records.put(ModelRecord("org/m", removed=True))
    await records.put(odd)
    await records.put(other := ModelRecord("n"))
    assert sorted(await records.all(), key=lambda record: record.id) == [other, odd]
    await records.drop("org/m")
    await records.drop("never there")
    assert await records.all() == [other]


async def test_what_another_version_kept_besides_is_left_out(database: Database):
    await database.collection("models").insert_one({"_id": "m", "enabled": False, "colour": "grey"})
    assert await ModelRecords(database).all() == [ModelRecord("m", enabled=False)]
