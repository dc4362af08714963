from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.domain.conversation import Conversation, ConversationFilter, new_conversation
from app.domain.page import PageRequest
from app.errors import Conflict, InvalidRequest
from app.storage.stores import Stores

OWNER, OTHER = "user_1", "user_2"


async def stored(stores: Stores, at_ms: int = 1000, owner: str = OWNER, **fields: Any) -> Conversation:
    return await stores.conversations.insert(new_conversation(owner, at_ms, **fields))


async def listed(stores: Stores, owner: str = OWNER, wanted: dict[str, Any] | None = None, **page: Any) -> list[str]:
    found = await stores.conversations.list(owner, PageRequest(**page), ConversationFilter(**wanted or {}))
    return [each.id for each in found.items]


async def test_a_conversation_is_read_as_stored(stores: Stores):
    made = await stored(stores, title="Ours", metadata={"$set": "x", "a.b": "y"}, tool_resources={"a.b": {}})
    assert await stores.conversations.get(OWNER, made.id) == made
    assert (made.number, made.title, made.metadata) == (0, "Ours", {"$set": "x", "a.b": "y"})


async def test_inserted_again_it_stays_as_it_was(stores: Stores):
    made = await stored(stores, title="first")
    assert await stores.conversations.insert(replace(made, title="second")) == made
    await stores.conversations.delete(OWNER, made.id)
    with pytest.raises(Conflict):
        await stores.conversations.insert(made)


async def test_another_owner_has_none_of_it(stores: Stores):
    made = await stored(stores)
    conversations = stores.conversations
    assert await conversations.get(OTHER, made.id) is None
    assert await conversations.change(OTHER, made.id, title="mine") is None
    assert await conversations.begin_turn(OTHER, made.id) is None
    assert not await conversations.delete(OTHER, made.id)
    await conversations.title_if_none(OTHER, made.id, "mine")
    assert await listed(stores, OTHER) == []
    with pytest.raises(InvalidRequest):
        await listed(stores, OTHER, after=made.id)
    assert await conversations.get(OWNER, made.id) == made


async def test_what_was_deleted_is_gone_at_once(stores: Stores):
    made = await stored(stores, title="gone")
    kept = await stored(stores)
    assert await stores.conversations.delete(OWNER, made.id)
    assert not await stores.conversations.delete(OWNER, made.id)
    assert await stores.conversations.get(OWNER, made.id) is None
    assert await stores.conversations.begin_turn(OWNER, made.id) is None
    assert await listed(stores) == [kept.id]
    assert await listed(stores, wanted={"words": ("gone",)}) == []


async def test_writers_reserve_turns_that_nobody_else_has(stores: Stores):
    made = await stored(stores)
    turns = await asyncio.gather(*(stores.conversations.begin_turn(OWNER, made.id, count) for count in (1, 2, 3, 1)))
    found = await stores.conversations.get(OWNER, made.id)
    assert found is not None
    assert found.turns == 7
    assert len(set(turns)) == 4
    assert min(t for t in turns if t is not None) == 0


async def test_pages_go_both_ways(stores: Stores):
    made = [(await stored(stores, at)).id for at in range(7)]
    assert await listed(stores) == made[::-1]
    assert await listed(stores, order="asc", limit=3) == made[:3]
    assert await listed(stores, limit=2, after=made[4]) == [made[3], made[2]]
    assert await listed(stores, limit=2, before=made[4]) == [made[6], made[5]]
    assert await listed(stores, limit=1, before=made[3], order="asc") == [made[2]]
    assert await listed(stores, after=made[5], before=made[2]) == [made[4], made[3]]


async def test_gaps_are_stepped_over(stores: Stores):
    made = [(await stored(stores, at)).id for at in range(40)]
    for id_ in made[5:35]:
        await stores.conversations.delete(OWNER, id_)
    assert await listed(stores, limit=7) == [*made[35:][::-1], made[4], made[3]]
    assert await listed(stores, limit=7, order="asc") == [*made[:5], made[35], made[36]]


async def test_the_last_change_comes_first_when_asked_for(stores: Stores):
    first, second, third = [(await stored(stores, at)).id for at in range(3)]
    await stores.conversations.begin_turn(OWNER, first)
    await stores.conversations.change(OWNER, second, title="new")
    assert await listed(stores, wanted={"order_by": "updated_at"}) == [second, first, third]
    assert await listed(stores) == [third, second, first]


@pytest.mark.parametrize(
    ("since", "until"), [(None, 3000), (5000, None), (4000, 8000), (100_000, None), (None, 1), (5500, 5600)]
)
async def test_times_bound_a_list(stores: Stores, since: int | None, until: int | None):
    made = {(await stored(stores, at)).id: at for at in range(1000, 80_000, 1000)}
    expected = [id_ for id_, at in made.items() if (since or 0) <= at < (until or 10**9)]
    assert await listed(stores, wanted={"since_ms": since, "until_ms": until}, order="asc", limit=100) == expected


async def test_a_title_is_given_once_and_found(stores: Stores):
    made = await stored(stores)
    await stores.conversations.title_if_none(OWNER, made.id, "Crème brûlée")
    await stores.conversations.title_if_none(OWNER, made.id, "Second")
    found = await stores.conversations.get(OWNER, made.id)
    assert found is not None
    assert (found.title, found.title_given) == ("Crème brûlée", False)
    assert await listed(stores, wanted={"words": ("creme",)}) == [made.id]
    await stores.conversations.change(OWNER, made.id, title="Soup")
    assert await listed(stores, wanted={"words": ("creme",)}) == []
    assert await listed(stores, wanted={"words": ("soup",)}) == [made.id]
