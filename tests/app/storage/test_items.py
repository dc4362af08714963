from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.conversation import Conversation, ConversationFilter, new_conversation
from app.domain.ids import new_id
from app.domain.item import ANSWER, Item, position
from app.domain.page import PageRequest
from app.errors import InvalidRequest
from app.storage.conversation_words import words_document
from app.storage.database import Database
from app.storage.stores import Stores

OWNER = "user_1"


def message(conversation: str | None, turn: int, index: int = 0, text: str = "hello", **fields: Any) -> Item:
    id_ = fields.pop("id", None) or new_id("msg")
    status = fields.pop("status", "completed")
    content = [{"type": "input_text", "text": text}]
    body = {"type": "message", "id": id_, "status": status, "role": "user", "content": content}
    return Item(id_, body, position(turn, index), 1000, conversation, **fields)


async def conversation(stores: Stores, owner: str = OWNER) -> Conversation:
    return await stores.conversations.insert(new_conversation(owner, 1000))


async def listed(stores: Stores, of: str, turns: int, **page: Any) -> Sequence[Item]:
    return (await stores.items.list(OWNER, of, PageRequest(**page), turns)).items


async def search(stores: Stores, *words: str) -> list[str]:
    found = await stores.conversations.list(OWNER, PageRequest(), ConversationFilter(words=words))
    return [each.id for each in found.items]


async def test_items_come_in_the_order_of_their_turns(stores: Stores):
    made = await conversation(stores)
    items = [message(made.id, turn, index) for turn in range(5) for index in (0, 1, ANSWER)]
    await stores.items.put(OWNER, items[::-1])
    assert await listed(stores, made.id, 5, order="asc", limit=100) == items
    assert await listed(stores, made.id, 5, limit=4) == items[::-1][:4]
    assert await listed(stores, made.id, 5, limit=4, after=items[7].id) == items[3:7][::-1]
    assert await listed(stores, made.id, 5, limit=4, before=items[7].id) == items[8:12][::-1]
    assert await listed(stores, made.id, 5, order="asc", limit=2, before=items[7].id) == items[5:7]


async def test_another_owner_has_none_of_them(stores: Stores):
    made, item = await conversation(stores), message(None, 0)
    await stores.items.put(OWNER, [item := message(made.id, 0)])
    assert await stores.items.get("user_2", made.id, item.id) is None
    assert await stores.items.get(OWNER, "conv_other", item.id) is None
    assert not await stores.items.delete("user_2", made.id, item.id)
    assert (await stores.items.list("user_2", made.id, PageRequest(), 1)).items == []
    with pytest.raises(InvalidRequest):
        await stores.items.list("user_2", made.id, PageRequest(after=item.id), 1)


async def test_what_is_stored_stays_and_what_was_open_is_finished(stores: Stores):
    made = await conversation(stores)
    done, cut = message(made.id, 0, text="first"), message(made.id, 1, text="cut", status="incomplete")
    await stores.items.put(OWNER, [done, cut])
    whole = message(made.id, 1, text="cut no more", id=cut.id)
    await stores.items.put(OWNER, [message(made.id, 0, text="again", id=done.id), whole, new := message(made.id, 2)])
    assert await listed(stores, made.id, 3, order="asc") == [done, whole, new]


async def test_an_id_of_another_owners_takes_nothing_from_them(stores: Stores):
    made = await conversation(stores)
    await stores.items.put(OWNER, [item := message(made.id, 0, status="incomplete")])
    await stores.items.put("user_2", [message("conv_other", 0, id=item.id)])
    assert await stores.items.get(OWNER, made.id, item.id) == item


async def test_writers_side_by_side_lose_nothing(stores: Stores):
    made = await conversation(stores)

    async def write(name: int) -> None:
        for _ in range(5):
            turn = await stores.conversations.begin_turn(OWNER, made.id)
            assert turn is not None
            await stores.items.put(OWNER, [message(made.id, turn, text=f"{name}")])
            await stores.items.put(OWNER, [message(made.id, turn, ANSWER, text=f"{name}")])

    await asyncio.gather(*map(write, range(4)))
    items = await listed(stores, made.id, 20, limit=100, order="asc")
    said = [item.body["content"][0]["text"] for item in items]
    assert len(said) == 40
    assert said[::2] == said[1::2]


async def test_a_history_is_read_backwards_by_whole_turns(stores: Stores):
    made = await conversation(stores)
    items = [message(made.id, turn, index) for turn in range(6) for index in (0, 1, ANSWER)]
    await stores.items.put(OWNER, items)
    newest = await stores.items.newest(OWNER, made.id, 6, None, 4)
    assert list(newest) == items[12:]
    older = await stores.items.newest(OWNER, made.id, 6, newest[0].position, 7)
    assert list(older) == items[3:12]
    assert list(await stores.items.newest(OWNER, made.id, 6, older[0].position, 7)) == items[:3]
    assert list(await stores.items.newest(OWNER, made.id, 6, 0, 7)) == []


async def test_items_of_responses(stores: Stores):
    made = await conversation(stores)
    asked = [message(None, 0, index, response="resp_1") for index in range(5)]
    said = message(made.id, 0, ANSWER, response="resp_1", side="output")
    other = message(None, 0, response="resp_2")
    await stores.items.put(OWNER, [said, *asked, other])
    assert await stores.items.all_of_response(OWNER, "resp_1", "output") == [said]
    found = await stores.items.of_responses(OWNER, ["resp_2", "resp_1", "resp_3"])
    assert found == {"resp_1": [*asked, said], "resp_2": [other], "resp_3": []}
    page = await stores.items.of_response(OWNER, "resp_1", "input", PageRequest(limit=2, after=asked[3].id))
    assert (page.items, page.has_more) == ([asked[2], asked[1]], True)
    await stores.items.delete_of_response(OWNER, "resp_1")
    assert await stores.items.of_responses(OWNER, ["resp_1"]) == {"resp_1": [said]}


async def test_a_conversation_is_found_by_all_of_its_words(stores: Stores):
    first, second = await conversation(stores), await conversation(stores)
    await stores.items.put(OWNER, [message(first.id, 0, text="The quick fox"), message(second.id, 0, text="quick hen")])
    await stores.items.put(OWNER, [message(first.id, 1, text="and Москва, 東京都に")])
    assert await search(stores, "quick") == [second.id, first.id]
    assert await search(stores, "quick", "fox", "москва", "東京") == [first.id]
    assert await search(stores, "fox", "hen") == []
    assert await search(stores, "qui") == []
    words = await stores.conversation_words._words.count_documents({"title": None})  # pyright: ignore[reportPrivateUsage]
    await stores.items.put(OWNER, [message(first.id, 2, text="the fox QUICK")])
    assert await stores.conversation_words._words.count_documents({"title": None}) == words  # pyright: ignore[reportPrivateUsage]


async def test_a_deleted_item_is_gone(stores: Stores):
    made = await conversation(stores)
    await stores.items.put(OWNER, [item := message(made.id, 0), kept := message(made.id, 0, 1)])
    assert await stores.items.delete(OWNER, made.id, item.id)
    assert not await stores.items.delete(OWNER, made.id, item.id)
    assert await listed(stores, made.id, 1) == [kept]


async def test_a_rare_word_is_found_beside_a_common_one(stores: Stores, database: Database):
    documents = [words_document(OWNER, f"conv_{n}", n, ["common"] + ["rare"] * (n % 100 == 7)) for n in range(400)]
    await database.collection("conversation_words").insert_many(
        [*documents, words_document(OWNER, "conv_8", 8, ["rare"]), words_document("user_2", "c", 9, ["rare", "common"])]
    )
    search = stores.conversation_words.search(OWNER, ["common", "rare"])
    assert await search.find(0, 20) == {(7, "conv_7"), (8, "conv_8")}
    assert await search.find(20, 400) == {(n, f"conv_{n}") for n in (107, 207, 307)}
    assert await search.find(20, 100) == set()
