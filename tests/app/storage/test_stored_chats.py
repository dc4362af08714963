from __future__ import annotations

from dataclasses import replace

from app.domain.stored_chat import StoredChat
from app.storage.stores import Stores

CHAT = StoredChat("chatcmpl-1", "user_one", "m", 1, {}, [], {})


async def test_nothing_is_left_of_one_that_nothing_came_of(stores: Stores):
    await stores.stored_chats.begin(CHAT)
    await stores.stored_chats.forget(CHAT.owner, CHAT.id, CHAT.created_at_ms)
    await stores.stored_chats.finish(CHAT.owner, CHAT.id, {}, "completed")
    assert await stores.stored_chats.get(CHAT.owner, CHAT.id) is None


async def test_an_earlier_try_takes_nothing_from_a_later_one(stores: Stores):
    later = replace(CHAT, created_at_ms=2)
    await stores.stored_chats.begin(CHAT)
    await stores.stored_chats.begin(later, again=True)
    await stores.stored_chats.forget(CHAT.owner, CHAT.id, CHAT.created_at_ms)
    await stores.stored_chats.finish(CHAT.owner, CHAT.id, {"id": CHAT.id}, "completed")
    found = await stores.stored_chats.get(CHAT.owner, CHAT.id)
    assert found is not None
    assert (found.body, found.status) == ({"id": CHAT.id}, "completed")


async def test_one_that_was_answered_stays_as_it_is(stores: Stores):
    await stores.stored_chats.begin(CHAT)
    await stores.stored_chats.finish(CHAT.owner, CHAT.id, {"id": CHAT.id}, "completed")
    await stores.stored_chats.begin(replace(CHAT, created_at_ms=2), again=True)
    await stores.stored_chats.forget(CHAT.owner, CHAT.id, 2)
    found = await stores.stored_chats.get(CHAT.owner, CHAT.id)
    assert found is not None
    assert found.created_at_ms == 1
