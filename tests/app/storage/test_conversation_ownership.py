from __future__ import annotations

from app.domain.conversation import ConversationFilter, new_conversation
from app.domain.page import PageRequest
from app.storage.database import Database
from app.storage.stores import Stores
from tests.app.storage.test_items import message

GUEST, USER = "user_guest", "user_1"


def made_at(at_ms: int) -> str:
    """The id of a conversation that was begun then."""
    return f"conv_{at_ms:012x}{0:020x}"


async def talked(stores: Stores, owner: str, at_ms: int, text: str = "hello") -> str:
    made = await stores.conversations.insert(
        new_conversation(owner, at_ms, made_at(at_ms), title=f"at {at_ms}", turns=1)
    )
    await stores.items.put(owner, [message(made.id, 0, text=text)])
    return made.id


async def ids(stores: Stores, owner: str, *words: str, limit: int = 100, **wanted: object) -> list[str]:
    filter_ = ConversationFilter(words=words, **wanted)  # type: ignore[arg-type]
    found = await stores.conversations.list(owner, PageRequest(order="asc", limit=limit), filter_)
    return [each.id for each in found.items]


async def test_a_guests_conversations_come_where_their_times_belong(stores: Stores):
    theirs = {at: await talked(stores, USER, at) for at in (1000, 3000, 5000, 7000)}
    guests = {at: await talked(stores, GUEST, at, "from the guest") for at in (500, 600, 4000, 4500, 8000, 9000)}
    moved = await stores.ownership.move(GUEST, USER)
    assert (moved["conversations"], moved["items"]) == (6, 6)
    expected = [id_ for _, id_ in sorted((theirs | guests).items())]
    assert await ids(stores, GUEST) == await ids(stores, GUEST, "guest") == []
    assert await ids(stores, USER) == expected
    assert sorted(await ids(stores, USER, "guest")) == sorted(guests.values())
    assert await ids(stores, USER, since_ms=4000, until_ms=8000) == expected[4:8]
    assert await ids(stores, USER, until_ms=1000, order_by="updated_at") == expected[:2]
    found = await stores.conversations.list(USER, PageRequest(limit=3, after=expected[5]))
    assert [each.id for each in found.items] == expected[2:5][::-1]
    await stores.conversations.begin_turn(USER, guests[4000])
    (item,) = (await stores.items.list(USER, guests[4000], PageRequest(), 2)).items
    assert item.body["content"][0]["text"] == "from the guest"
    await stores.items.put(USER, [message(guests[4000], 1, text="afterwards")])
    assert await ids(stores, USER, "afterwards") == [guests[4000]]


async def test_what_went_over_before_somebody_died_is_found_with_the_rest(stores: Stores):
    guests = await talked(stores, GUEST, 1000, "from the guest")
    # The words had gone over under another number, and nothing else.
    await stores.conversation_words.move_all(GUEST, guests, USER, 7)
    await stores.ownership.move(GUEST, USER)
    await stores.items.put(USER, [message(guests, 1, text="afterwards")])
    assert await ids(stores, USER, "guest", "afterwards") == [guests]


async def test_nothing_is_left_of_whoever_is_deleted(stores: Stores, database: Database):
    kept = await talked(stores, USER, 1000)
    for at in range(3):
        await talked(stores, GUEST, at)
    gone = await talked(stores, GUEST, 5)
    await stores.conversations.delete(GUEST, gone)
    await stores.items.put(GUEST, [message(None, 0, response="resp_1")])
    deleted = await stores.ownership.delete(GUEST)
    assert (deleted["conversations"], deleted["items"]) == (4, 5)
    for name in ("conversations", "items", "conversation_words", "counters"):
        assert await database.collection(name).count_documents({"owner": GUEST}) == 0, name
        assert await database.collection(name).count_documents({"owner": USER}) > 0, name
    assert await ids(stores, USER, "hello") == [kept]
