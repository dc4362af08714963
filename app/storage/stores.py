"""The collections that a process works with, each behind its repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app.storage.api_keys import ApiKeys
from app.storage.assistants import Assistants
from app.storage.audit_log import AuditLog
from app.storage.conversation_ownership import ConversationOwnership
from app.storage.conversation_words import ConversationWords
from app.storage.conversations import Conversations
from app.storage.counters import Counters
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.items import Items
from app.storage.limit_tables import LimitTables
from app.storage.limits import Limits
from app.storage.logins import Logins
from app.storage.merges import Merges
from app.storage.ownership import Ownership
from app.storage.processes import Processes
from app.storage.project_users import ProjectUsers
from app.storage.projects import Projects
from app.storage.response_events import ResponseEvents
from app.storage.responses import Responses
from app.storage.run_steps import RunSteps
from app.storage.runs import Runs
from app.storage.sessions import Sessions
from app.storage.stored_chats import StoredChats
from app.storage.usage_days import UsageDays
from app.storage.usage_events import UsageEvents
from app.storage.usage_lots import UsageLots
from app.storage.usage_remains import UsageRemains
from app.storage.usage_rollup import UsageRollupState
from app.storage.users import Users


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that the gateway keeps."""

    users: Users
    keys: ApiKeys
    sessions: Sessions
    audit_log: AuditLog
    ownership: Ownership
    merges: Merges
    projects: Projects
    project_users: ProjectUsers
    logins: Logins
    limits: Limits
    limit_tables: LimitTables
    usage_events: UsageEvents
    usage_lots: UsageLots
    usage_days: UsageDays
    usage_rollup: UsageRollupState
    usage_remains: UsageRemains
    conversations: Conversations
    items: Items
    conversation_words: ConversationWords
    stored_chats: StoredChats
    idempotency: IdempotencyKeys
    processes: Processes
    responses: Responses
    response_events: ResponseEvents
    assistants: Assistants
    runs: Runs
    run_steps: RunSteps

    @classmethod
    def of(cls, database: Database) -> Self:
        """The repositories over one database."""
        users = Users(database)
        words = ConversationWords(database)
        counters = Counters(database)
        conversations = Conversations(database, counters, words)
        items = Items(database, words)
        stored_chats = StoredChats(database, counters)
        said = ConversationOwnership(database, counters, conversations, items, words)
        return cls(
            users=users,
            keys=ApiKeys(database, users),
            sessions=Sessions(database),
            audit_log=AuditLog(database),
            ownership=Ownership(database, said, stored_chats),
            merges=Merges(database),
            projects=Projects(database),
            project_users=ProjectUsers(database),
            logins=Logins(database),
            limits=Limits(database),
            limit_tables=LimitTables(database),
            usage_events=UsageEvents(database),
            usage_lots=UsageLots(database),
            usage_days=UsageDays(database),
            usage_rollup=UsageRollupState(database),
            usage_remains=UsageRemains(database),
            conversations=conversations,
            items=items,
            conversation_words=words,
            stored_chats=stored_chats,
            idempotency=IdempotencyKeys(database),
            processes=Processes(database),
            responses=Responses(database),
            response_events=ResponseEvents(database),
            assistants=Assistants(database),
            runs=Runs(database),
            run_steps=RunSteps(database),
        )

    async def prepare(self) -> None:
        """Make every index.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        identity = (self.users, self.keys, self.sessions, self.audit_log, self.logins, self.projects)
        usage = (self.usage_events, self.usage_lots, self.usage_days, self.usage_rollup, self.usage_remains)
        kept = (
            self.conversations,
            self.items,
            self.conversation_words,
            self.stored_chats,
            self.idempotency,
            self.responses,
            self.response_events,
        )
        threads = (self.assistants, self.runs, self.run_steps)
        for store in (*identity, self.project_users, self.ownership, self.merges, self.limits, *usage, *kept, *threads):
            await store.prepare()
