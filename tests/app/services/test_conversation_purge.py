from __future__ import annotations

from app.domain.conversation import Conversation, new_conversation
from app.domain.page import PageRequest
from app.services.conversation_purge import ConversationPurge
from app.storage.database import Database
from app.storage.stores import Stores
from tests.app.storage.test_items import OWNER, message


async def talked(stores: Stores, turns: int = 1) -> Conversation:
    made = await stores.conversations.insert(new_conversation(OWNER, 1000, title="Ours", turns=turns))
    await stores.items.put(OWNER, [message(made.id, turn, text=f"hello {turn}") for turn in range(turns)])
    return made


async def left(database: Database, conversation: Conversation) -> list[int]:
    """How many items, words and marks there are of it."""
    counts = [("items", "conversation"), ("conversation_words", "conversation"), ("conversations", "_id")]
    return [await database.collection(name).count_documents({field: conversation.id}) for name, field in counts]


async def test_what_was_deleted_goes_soon_and_its_mark_later(database: Database, stores: Stores):
    purge, made, kept = ConversationPurge(stores), await talked(stores, 45), await talked(stores)
    assert await stores.conversations.delete(OWNER, made.id)
    purge.soon((OWNER, made.id))
    await purge.idle()
    assert await left(database, made) == [0, 0, 1]
    assert await purge.sweep() == 0
    assert await ConversationPurge(stores, kept_ms=-1000).sweep() == 1
    assert await left(database, made) == [0, 0, 0]
    assert await left(database, kept) == [1, 2, 1]


async def test_an_answer_that_came_too_late_goes_with_the_mark(database: Database, stores: Stores):
    made = await talked(stores)
    await stores.conversations.delete(OWNER, made.id)
    await ConversationPurge(stores).empty(OWNER, made.id)
    await stores.items.put(OWNER, [message(made.id, 0, 1, text="too late")])
    assert (await left(database, made))[0] == 1
    await ConversationPurge(stores, kept_ms=-1000).sweep()
    assert await left(database, made) == [0, 0, 0]


async def test_whoever_dies_over_it_leaves_it_to_any_other(database: Database, stores: Stores):
    made = [await talked(stores) for _ in range(3)]
    assert await stores.conversations.delete_all(OWNER) == 3
    # Nobody who was told to delete them is there any more.
    sweepers = [ConversationPurge(stores, kept_ms=-1000) for _ in range(2)]
    assert sum([await sweeper.sweep() for sweeper in sweepers]) == 3
    assert [await left(database, each) for each in made] == [[0, 0, 0]] * 3


async def test_what_is_deleted_all_at_once_is_emptied_soon(database: Database, stores: Stores):
    purge, made = ConversationPurge(stores), await talked(stores, 3)
    await stores.conversations.delete_all(OWNER)
    purge.soon()
    await purge.idle()
    assert await left(database, made) == [0, 0, 1]
    assert (await stores.conversations.list(OWNER, PageRequest())).items == []


async def test_it_looks_by_itself_and_stops_when_told(database: Database, stores: Stores):
    made = await talked(stores)
    await stores.conversations.delete(OWNER, made.id)
    purge = ConversationPurge(stores, every_s=0.01, kept_ms=-1000)
    purge.start()
    while (await left(database, made))[2]:
        pass
    await purge.close()
