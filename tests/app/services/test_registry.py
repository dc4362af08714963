"""Desired state: files, what was said on top of them, and what survives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.model_record import ModelRecord
from app.domain.model_spec import ModelSpec
from app.errors import DatabaseUnavailable, InvalidRequest, ModelNotFound
from app.services.registry import Registry
from tests.support.gateway import scripted

NOW = 1_800_000_000


class Store:
    """Records in memory; can be down."""

    def __init__(self) -> None:
        self.records: dict[str, ModelRecord] = {}
        self.down = False

    async def all(self) -> list[ModelRecord]:
        self._answer()
        return list(self.records.values())

    async def put(self, record: ModelRecord) -> None:
        self._answer()
        self.records[record.id] = record

    async def drop(self, id_: str) -> None:
        self._answer()
        self.records.pop(id_, None)

    def _answer(self) -> None:
        if self.down:
            raise DatabaseUnavailable("down")


async def fine(_: ModelSpec) -> None:
    """The check of a cluster on which everything works."""


async def unfit(_: ModelSpec) -> None:
    """The check of one on which nothing does."""
    raise InvalidRequest("too large", param="resources.num_gpus")


def spec(id_: str, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "engine": "scripted", **fields}


@pytest.fixture
def store() -> Store:
    return Store()


def registry(store: Store, *files: ModelSpec) -> Registry:
    return Registry(files, store, clock=lambda: NOW)


async def restarted(store: Store, *files: ModelSpec) -> Registry:
    """What a new process makes of the same store."""
    again = registry(store, *files)
    await again.load()
    return again


async def test_the_files_models_are_wanted_as_they_stand(store: Store):
    file = scripted("a")
    wanted = registry(store, file).wanted
    assert {id_: (each.spec, each.enabled, each.created) for id_, each in wanted.items()} == {"a": (file, True, NOW)}


async def test_a_model_that_was_added_is_there_after_a_restart(store: Store):
    added = await registry(store, scripted("a")).add(spec("b", aliases=["bee"]), fine)
    again = await restarted(store, scripted("a"))
    assert again.wanted["b"] == added
    assert again.get("bee") == added


@pytest.mark.parametrize(
    ("values", "param"),
    [
        (spec("a"), "id"),
        (spec("nick"), "id"),
        (spec("b", aliases=["x", "a"]), "aliases[1]"),
        (spec("b", aliases=["nick"]), "aliases[0]"),
        (spec("../b"), "id"),
        ({"engine": "scripted"}, "id"),
        ({"id": "b"}, "source"),
        (spec("b", replicas=1), "replicas"),
        (spec("b", autoscaling={"min_replica": 1}), "autoscaling.min_replica"),
        (spec("b", resources={"num_gpus": 1.5}), "resources.num_gpus"),
    ],
)
async def test_a_wrong_spec_is_refused_by_its_field_and_changes_nothing(store: Store, values: Any, param: str):
    models = registry(store, scripted("a", aliases=["nick"]))
    before = dict(models.wanted)
    with pytest.raises(InvalidRequest) as refusal:
        await models.add(values, fine)
    assert refusal.value.param == param
    assert models.wanted == before
    assert store.records == {}


async def test_a_spec_that_could_not_run_here_is_refused(store: Store):
    models = registry(store)
    with pytest.raises(InvalidRequest, match="too large"):
        await models.add(spec("b"), unfit)
    assert models.wanted == {}
    assert store.records == {}


async def test_a_change_is_merged_and_null_brings_the_default_back(store: Store):
    models = registry(store, scripted("a", engine_args={"ttft_s": 1, "tokens_per_s": 5}, owned_by="me"))
    patch: Mapping[str, Any] = {"engine_args": {"tokens_per_s": None, "default_tokens": 3}, "owned_by": None}
    changed = (await models.change("a", patch, fine)).spec
    assert changed.engine_args == {"ttft_s": 1, "default_tokens": 3}
    assert changed.owned_by == "manta"
    assert (await restarted(store, scripted("a", engine_args={"ttft_s": 1, "tokens_per_s": 5}, owned_by="me"))).wanted[
        "a"
    ].spec == changed


async def test_a_model_is_changed_by_any_of_its_names_and_keeps_its_id(store: Store):
    models = registry(store, scripted("a", aliases=["nick"]))
    assert (await models.change("nick", {"aliases": ["nick", "nock"]}, fine)).spec.aliases == ["nick", "nock"]
    with pytest.raises(InvalidRequest, match="id cannot be changed"):
        await models.change("a", {"id": "b"}, fine)


async def test_a_file_that_is_edited_later_wins_over_a_change(store: Store):
    await registry(store, scripted("a")).change("a", {"owned_by": "api"}, fine)
    edited = scripted("a", owned_by="file")
    assert (await restarted(store, edited)).wanted["a"].spec == edited


async def test_a_files_model_that_was_removed_stays_away_until_the_file_changes(store: Store):
    models = registry(store, scripted("a"))
    await models.remove("a")
    assert models.wanted == {}
    assert (await restarted(store, scripted("a"))).wanted == {}
    assert "a" in (await restarted(store, scripted("a", owned_by="me"))).wanted


async def test_a_removed_model_can_be_added_again(store: Store):
    models = registry(store, scripted("a"))
    await models.remove("a")
    await models.add(spec("a", owned_by="api"), fine)
    assert (await restarted(store, scripted("a"))).wanted["a"].spec.owned_by == "api"


async def test_a_model_that_was_added_and_removed_leaves_no_record(store: Store):
    models = registry(store)
    await models.add(spec("b"), fine)
    await models.remove("b")
    assert models.wanted == {}
    assert store.records == {}


async def test_a_stopped_model_stays_stopped_whatever_becomes_of_its_spec(store: Store):
    models = registry(store, scripted("a"))
    await models.enable("a", enabled=False)
    await models.change("a", {"owned_by": "api"}, fine)
    assert not (await restarted(store, scripted("a"))).wanted["a"].enabled
    assert not (await restarted(store, scripted("a", owned_by="file"))).wanted["a"].enabled
    await models.enable("a", enabled=True)
    assert (await restarted(store, scripted("a"))).wanted["a"].enabled


async def test_what_could_not_be_stored_has_not_happened(store: Store):
    models = registry(store, scripted("a"))
    store.down = True
    for attempt in (
        models.add(spec("b"), fine),
        models.change("a", {"owned_by": "x"}, fine),
        models.remove("a"),
        models.enable("a", enabled=False),
    ):
        with pytest.raises(DatabaseUnavailable):
            await attempt
    assert models.wanted["a"].spec == scripted("a")
    assert models.wanted["a"].enabled
    assert list(models.wanted) == ["a"]


async def test_a_model_that_is_not_there_is_not_found(store: Store):
    models = registry(store)
    for attempt in (models.change("x", {}, fine), models.remove("x"), models.enable("x", enabled=True)):
        with pytest.raises(ModelNotFound):
            await attempt


async def test_a_record_that_is_no_spec_any_more_is_left_out(store: Store, caplog: pytest.LogCaptureFixture):
    await registry(store).add(spec("b"), fine)
    store.records["old"] = ModelRecord("old", '{"id": "old", "engine": "abacus"}')
    assert list((await restarted(store)).wanted) == ["b"]
    assert "the stored model old is left out" in caplog.text


async def test_how_many_replicas_a_model_has_at_the_least_is_the_installations_unless_it_says(store: Store):
    files = (scripted("silent"), scripted("says", autoscaling={"min_replicas": 1}))
    models = Registry(files, store, least_replicas=0)
    await models.add(spec("added"), fine)
    await models.change("says", {"autoscaling": {"max_replicas": 3}}, fine)
    least = {id_: wanted.spec.autoscaling.min_replicas for id_, wanted in models.wanted.items()}
    assert least == {"silent": 0, "added": 0, "says": 1}


async def test_what_nobody_said_stays_the_installations_whatever_else_is_changed(store: Store):
    await Registry([scripted("a")], store, least_replicas=0).change("a", {"owned_by": "me"}, fine)
    again = Registry([scripted("a")], store, least_replicas=1)
    await again.load()
    assert again.wanted["a"].spec.autoscaling.min_replicas == 1


async def test_a_model_that_came_back_with_its_file_can_be_stopped(store: Store):
    await registry(store, scripted("a")).remove("a")
    edited = scripted("a", owned_by="file")
    models = await restarted(store, edited)
    await models.enable("a", enabled=False)
    assert not models.wanted["a"].enabled
    assert not (await restarted(store, edited)).wanted["a"].enabled
