"""What a guest has goes over to their account, whenever whoever sees to that dies or loses its database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.domain.conversation import ConversationFilter, new_conversation
from app.domain.origin import Origin
from app.domain.page import PageRequest
from app.domain.stored_chat import StoredChat
from app.domain.user import User, new_user_id
from app.errors import DatabaseUnavailable
from app.services.access_tokens import AccessTokens
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.liveness import Liveness
from app.services.merging import Merging
from app.storage.database import Database
from app.storage.stores import Stores
from app.storage.users import now_ms
from tests.app.storage.test_items import message
from tests.support.mongo import MongoServer

BROWSER = Origin("10.0.0.1", "browser", "req_1")
EVERY = 4
"""Of the operations that it takes each so many-th is somebody's last: with every one of them it takes ten seconds."""


class Died(Exception):
    """What a process does no more after its death."""


class Failing(Database):
    """Does so many operations and no more, or all but that one."""

    left: int | None = None
    error: type[Exception] = Died

    @asynccontextmanager
    async def operation(self, timeout_s: float | None = None) -> AsyncGenerator[None]:
        if self.left == 0:
            if self.error is DatabaseUnavailable:
                self.left = None
            raise self.error("not this one")
        if self.left is not None:
            self.left -= 1
        async with super().operation(timeout_s):
            yield


@pytest.fixture
def failing(mongodb: MongoServer, database_name: str) -> Iterator[Failing]:
    """The same database, which fails when it is told to."""
    opened = Failing(mongodb.uri, database_name, timeout_s=60, pool_size=4)
    yield opened
    opened.close()


@dataclass
class Process:
    """One that hands over, as far as it comes."""

    stores: Stores
    liveness: Liveness
    merging: Merging


def process(database: Database) -> Process:
    stores = Stores.of(database)
    tokens = AccessTokens(["k" * 32], algorithm="HS256", issuer="manta", ttl_s=900)
    authenticator = Authenticator(stores, tokens, secret=b"s", cache_s=0, anonymous_inference=False)
    liveness = Liveness(stores.processes)
    return Process(stores, liveness, Merging(stores, Audit(stores.audit_log), authenticator, liveness))


async def guest_and_user(stores: Stores) -> tuple[User, User]:
    """A guest who has something of all that is not merely renamed, and a user."""
    guest, user = User(new_user_id(), "guest", "Guest", now_ms()), User(new_user_id(), "user", "Ada", now_ms())
    for each in (guest, user):
        await stores.users.insert(each)
    said = new_conversation(guest.id, now_ms(), title="Rays that glide", turns=1)
    await stores.conversations.insert(said)
    await stores.items.put(guest.id, [message(said.id, 0, text="over the reef")])
    await stores.stored_chats.begin(StoredChat(f"chatcmpl-{guest.id}", guest.id, "m", 1, {}, [], {}))
    return guest, user


async def had(database: Database, owner: str) -> dict[str, int]:
    """How many documents of which collection are somebody's."""
    names = ("conversations", "items", "conversation_words", "stored_chats")
    counts = {name: await database.collection(name).count_documents({"owner": owner}) for name in names}
    return {name: count for name, count in counts.items() if count}


async def assert_handed_over(stores: Stores, database: Database, guest: User, user: User) -> None:
    assert await stores.users.get(guest.id) is None
    assert await had(database, guest.id) == {}
    assert await had(database, user.id) == {"conversations": 1, "items": 1, "conversation_words": 2, "stored_chats": 1}
    (said,) = (await stores.conversations.list(user.id, PageRequest())).items
    await stores.items.put(user.id, [message(said.id, 1, text="afterwards")])
    wanted = ConversationFilter(words=("rays", "reef", "afterwards"))
    assert list((await stores.conversations.list(user.id, PageRequest(), wanted)).items) == [said]


async def test_whenever_a_process_dies_the_next_one_hands_over_the_rest(
    stores: Stores, database: Database, failing: Failing
):
    other = process(database)
    deaths = 0
    while failing.left is None:
        guest, user = await guest_and_user(stores)
        dying = process(failing)
        await dying.liveness.me()
        failing.left = deaths
        try:
            await dying.merging.merge(guest, user, BROWSER)
        except Died:
            # Nothing was begun: the guest may sign in again.
            assert await stores.users.get(guest.id) == guest
            failing.left = None
        else:
            over, failing.left = failing.left > 0, None
            await stores.processes.leave(dying.liveness.id)
            await other.liveness.round()
            await other.merging.idle()
            await assert_handed_over(stores, database, guest, user)
            if over:
                break
        deaths += EVERY


async def test_a_database_that_is_away_for_a_moment_is_waited_for(stores: Stores, database: Database, failing: Failing):
    failing.error = DatabaseUnavailable
    guest, user = await guest_and_user(stores)
    one = process(failing)
    await one.liveness.me()
    failing.left = 12
    await one.merging.merge(guest, user, BROWSER)
    assert failing.left is None
    await assert_handed_over(stores, database, guest, user)


async def test_only_one_hands_over(stores: Stores, database: Database):
    guest, user = await guest_and_user(stores)
    one, other = process(database), process(database)
    move, moves = stores.ownership.move, list[Any]()

    async def moving(*args: Any) -> Any:
        moves.append(args)
        # Another sign-in of the same guest's, at this moment.
        await other.merging.merge(guest, user, BROWSER)
        return await move(*args)

    for each in (one, other):
        each.stores.ownership.move = moving  # type: ignore[method-assign]
    await one.merging.merge(guest, user, BROWSER)
    assert moves == [(guest.id, user.id)]
    await assert_handed_over(stores, database, guest, user)


async def test_what_would_go_to_nobody_goes(stores: Stores, database: Database):
    guest, user = await guest_and_user(stores)
    await stores.users.delete(user.id)
    await process(database).merging.merge(guest, user, BROWSER)
    assert await stores.users.get(guest.id) is None
    assert await had(database, guest.id) == await had(database, user.id) == {}
