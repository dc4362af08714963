from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.conversation import new_conversation
from app.domain.item import ANSWER, position
from app.domain.page import PageRequest
from app.domain.stored_chat import StoredChat
from app.services.answers.keeper import MOST_BYTES, Answer, Keeper, answer_of
from app.services.answers.keeping import Keeping
from app.services.answers.stored_chats import StoredChatPlace
from app.storage.conversation_ownership import ConversationOwnership
from app.storage.stored_chats import StoredChats
from app.storage.stores import Stores

OWNER = "user_one"
TAIL = "0198a6c1b2c3" + "4" * 20


def body(text: str = "Hello", finish: str = "stop", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish, **fields}
    return json.dumps({"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [choice]}).encode()


def keeping(**fields: Any) -> Keeping:
    return Keeping(owner=OWNER, created_at_ms=1, model="m", tail=TAIL, stream=False, **fields)


async def conversation_of(stores: Stores, **fields: Any) -> str:
    return (await stores.conversations.insert(new_conversation(OWNER, 1, turns=3, **fields))).id


async def said(stores: Stores, conversation: str) -> list[tuple[str, str]]:
    page = await stores.items.list(OWNER, conversation, PageRequest(order="asc"), 3)
    return [(item.status, item.body["content"][0]["text"]) for item in page.items]


async def test_a_line_says_all_of_what_is_to_be_kept():
    full = keeping(conversation="conv_x", turn=2, metadata={"a": "b"}, extra={"run_id": "run_x"}, attempt="k")
    assert Keeping.decode(full.encode()) == full
    assert full.encode().count(b"\n") == 1


async def test_an_answer_stands_behind_the_question_of_its_turn(stores: Stores):
    conversation = await conversation_of(stores)
    await Keeper(stores).keep(keeping(conversation=conversation, turn=1, extra={"run_id": "run_x"}), body())
    item = await stores.items.get(OWNER, conversation, f"msg_{TAIL}")
    assert item is not None
    assert item.position == position(1, ANSWER)
    assert (item.side, item.extra) == ("output", {"run_id": "run_x"})


async def test_it_is_kept_once_and_the_whole_of_it_replaces_a_part(stores: Stores):
    conversation = await conversation_of(stores)
    keeper, kept = Keeper(stores), keeping(conversation=conversation, turn=1)
    for raw, found in (
        (body("Hel", "length"), ("incomplete", "Hel")),
        (body("Hello"), ("completed", "Hello")),
        (body("Hel", "length"), ("completed", "Hello")),
        (body("Hello"), ("completed", "Hello")),
    ):
        await keeper.keep(kept, raw)
        assert await said(stores, conversation) == [found]


async def test_a_conversation_without_a_title_gets_it_from_what_was_answered(stores: Stores):
    conversation = await conversation_of(stores)
    await Keeper(stores).keep(keeping(conversation=conversation, untitled=True), body("A manta.\nIt soars."))
    found = await stores.conversations.get(OWNER, conversation)
    assert found is not None
    assert found.title == "A manta."


async def test_what_was_said_in_a_conversation_that_is_gone_is_gone_too(stores: Stores):
    conversation = await conversation_of(stores)
    await stores.conversations.delete(OWNER, conversation)
    await Keeper(stores).keep(keeping(conversation=conversation, turn=1), body())
    assert await stores.items.get(OWNER, conversation, f"msg_{TAIL}") is None


async def test_each_place_is_asked_for_what_is_its_own_in_order(stores: Stores):
    keeper = Keeper(stores)
    asked: list[tuple[str, Answer]] = []

    def place(name: str) -> Any:
        async def keep(answer: Answer) -> None:
            asked.append((name, answer))

        return keep

    for name in ("run", "attempt", "completion_id"):
        keeper.add(name, place(name))  # type: ignore[arg-type]
    await keeper.keep(keeping(attempt="k", run="run_x"), body())
    assert [name for name, _ in asked] == ["run", "attempt"]
    assert asked[0][1].completion.complete


def test_of_a_very_long_answer_log_probabilities_are_left_out():
    row = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}
    fits = answer_of(keeping(conversation="conv_x"), body(logprobs={"content": [row] * 3, "refusal": None}))
    assert len(fits.items[0].body["content"][0]["logprobs"]) == 3
    rows = [{**row, "token": "x" * 1000}] * (MOST_BYTES // 1000)
    long = answer_of(keeping(conversation="conv_x"), body(logprobs={"content": rows, "refusal": None}))
    assert long.items[0].body["content"][0] == {
        "type": "output_text",
        "text": "Hello",
        "annotations": [],
        "logprobs": [],
    }


@pytest.mark.parametrize("ahead_of", [ConversationOwnership, StoredChats, None])
async def test_what_a_guest_was_answered_while_they_sign_in_is_their_accounts(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, ahead_of: type[ConversationOwnership | StoredChats] | None
):
    keeper = Keeper(stores)
    keeper.add("completion_id", StoredChatPlace(stores.stored_chats).keep)
    conversation = await conversation_of(stores)
    chat = StoredChat("chatcmpl-1", OWNER, "m", 1, {}, [], {})
    await stores.stored_chats.begin(chat)

    async def keep() -> None:
        await keeper.keep(keeping(conversation=conversation, turn=1, completion_id=chat.id, guest=True), body())

    if ahead_of is None:
        await stores.ownership.move(OWNER, "user_two")
        await keep()
    else:
        move = ahead_of.move

        async def late(self: Any, owner: str, to: str) -> Any:
            await keep()
            return await move(self, owner, to)

        monkeypatch.setattr(ahead_of, "move", late)
        await stores.ownership.move(OWNER, "user_two")
    assert await stores.items.get("user_two", conversation, f"msg_{TAIL}") is not None
    assert await stores.stored_chats.get("user_two", chat.id) is not None
