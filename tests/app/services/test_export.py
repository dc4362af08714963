from __future__ import annotations

import pytest

from app.domain.conversation import new_conversation
from app.errors import InvalidRequest
from app.services.export import pages
from app.storage.stores import Stores

OWNER = "user_1"


async def test_what_is_deleted_while_it_is_read_stops_nothing(stores: Stores):
    made = [(await stores.conversations.insert(new_conversation(OWNER, at))).id for at in range(9)]
    seen: list[str] = []
    async for conversation in pages(stores.conversations.list, OWNER, 3):
        seen.append(conversation.id)
        if len(seen) in (3, 6):
            for id_ in seen[-2:]:
                await stores.conversations.delete(OWNER, id_)
    assert seen == made


async def test_a_page_that_is_gone_as_a_whole_is_not_passed_over_in_silence(stores: Stores):
    for at in range(6):
        await stores.conversations.insert(new_conversation(OWNER, at))

    async def read() -> None:
        count = 0
        async for _ in pages(stores.conversations.list, OWNER, 3):
            count += 1
            if count == 3:
                await stores.conversations.delete_all(OWNER)

    with pytest.raises(InvalidRequest):
        await read()
