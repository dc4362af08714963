from __future__ import annotations

import pytest

from app.domain.model_state import ModelState
from app.errors import InvalidRequest, ModelNotFound
from app.services.catalog import Catalog, CatalogEntry, StaticCatalog
from tests.support.gateway import scripted

CHAT = CatalogEntry(scripted("chat", aliases=["talk", "org/talk", "embed"]))
EMBED = CatalogEntry(scripted("embed", capabilities=["embeddings"]), ModelState("ready"))
CATALOG = Catalog.of([CHAT, EMBED])


@pytest.mark.parametrize("name", ["chat", "talk", "org/talk"])
def test_a_model_is_found_by_its_id_and_its_aliases(name: str):
    assert CATALOG.get(name) is CHAT


def test_an_id_wins_over_another_models_alias():
    assert CATALOG.get("embed") is EMBED


@pytest.mark.parametrize("name", ["", "CHAT", "nothing", "x" * 100_000, "chat\x00"])
def test_an_unknown_model_is_refused_with_the_known_ones(name: str):
    with pytest.raises(ModelNotFound) as refusal:
        CATALOG.get(name)
    assert refusal.value.param == "model"
    assert "chat, embed" in refusal.value.message
    assert len(refusal.value.message) < 1000


def test_an_empty_catalog_says_so():
    with pytest.raises(ModelNotFound, match="none yet"):
        Catalog().get("chat")


def test_a_model_that_cannot_do_it_is_refused_with_those_that_can():
    assert CATALOG.able("talk", "chat") is CHAT
    with pytest.raises(InvalidRequest, match=r"'talk' does not support embeddings\. Models that do: embed") as refusal:
        CATALOG.able("talk", "embeddings")
    assert (refusal.value.param, refusal.value.code) == ("model", "unsupported_capability")
    with pytest.raises(InvalidRequest, match="none"):
        CATALOG.able("chat", "rerank")


def test_every_model_can_do_what_needs_no_capability():
    assert CATALOG.able("embed", None) is EMBED


def test_a_static_catalog_is_the_one_given():
    assert StaticCatalog(CATALOG).current() is CATALOG
