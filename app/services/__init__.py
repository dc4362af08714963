"""What the gateway does, one service a file; ``Services`` holds the ones a process has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.domain.limit_table import LimitTable
from app.services.access_tokens import AccessTokens
from app.services.accounts import Accounts
from app.services.admission import Admission
from app.services.api_keys import KeyService
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.backend import ModelBackend
from app.services.catalog import CatalogSource
from app.services.conversations import ConversationService
from app.services.export import Export
from app.services.exported import sections
from app.services.idempotency import Idempotency
from app.services.jobs import Jobs
from app.services.limits.limiter import Limiter
from app.services.limits.outage import Mode
from app.services.liveness import Liveness
from app.services.merging import Merging
from app.services.model_admin import FixedModels, ModelAdmin
from app.services.parts import Answers, Counting, Identity, Organization, State
from app.services.policies import Policies
from app.services.responses.archive import ResponseArchive
from app.services.sessions import SessionService
from app.services.sign_in import SignIn
from app.services.threads import Threads
from app.services.usage.ledger import UsageLedger
from app.services.usage.reports import UsageReports
from app.services.usage.rollup import UsageRollup
from app.settings import Settings
from app.storage.database import Database
from app.storage.stores import Stores

__all__ = ["Services", "build_services"]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need, built once per process and handed to ``create_app``."""

    settings: Settings
    catalog: CatalogSource
    backend: ModelBackend
    models: ModelAdmin
    database: Database
    stores: Stores
    authenticator: Authenticator
    tokens: AccessTokens
    sessions: SessionService
    sign_in: SignIn
    merging: Merging
    accounts: Accounts
    keys: KeyService
    organization: Organization
    audit: Audit
    policies: Policies
    admission: Admission
    limiter: Limiter
    ledger: UsageLedger
    rollup: UsageRollup
    usage_reports: UsageReports
    export: Export
    liveness: Liveness
    jobs: Jobs
    answers: Answers
    conversations: ConversationService
    idempotency: Idempotency
    threads: Threads
    responses: ResponseArchive
    request_extras: frozenset[str]

    async def start(self) -> None:
        """Begin what goes on in the background.

        Raises:
            SettingsError: Usage or answers cannot be written where the settings say.
        """
        await self.ledger.start()
        await self.answers.journal.start()
        self.policies.start()
        self.rollup.start()
        self.liveness.start()
        self.jobs.start()
        self.conversations.purge.start()

    async def close(self) -> None:
        """Finish what nobody waited for, leave what lasts longer to others, and close the database."""
        await self.jobs.close()
        await self.responses.close()
        await self.merging.close()
        await self.conversations.purge.close()
        await self.answers.journal.close()
        # Each may wait for a database that is away: together, so that it is waited for once.
        await asyncio.gather(self.liveness.close(), self.policies.close(), self.rollup.close())
        await self.limiter.close()
        await self.ledger.close()
        await self.sign_in.close()
        await self.authenticator.close()
        await self.audit.close()
        self.database.close()


def build_services(  # noqa: PLR0913, PLR0917 - called in few places, with names
    settings: Settings,
    mongodb_uri: str,
    catalog: CatalogSource,
    backend: ModelBackend,
    models: ModelAdmin | None = None,
    limits: LimitTable | None = None,
    on_limits_mode: Callable[[Mode], None] | None = None,
) -> Services:
    """Wire the services of one process; opens nothing until the first use.

    Args:
        models: Changes which models there are; None where nobody can.
        limits: Those that hold until an admin sets others; None for none.
        on_limits_mode: Hears of every change in how limits are counted.

    Raises:
        SettingsError: A secret is missing or ``mongodb_uri`` is not a connection string.
    """
    database = _database(settings, mongodb_uri)
    stores = Stores.of(database)
    state = State.of(settings, stores)
    identity = Identity.of(settings, stores, state.liveness)
    counting = Counting.of(settings, stores, identity.audit, limits or LimitTable(), on_limits_mode)
    return Services(
        settings=settings,
        catalog=catalog,
        backend=backend,
        models=models or FixedModels(),
        database=database,
        stores=stores,
        authenticator=identity.authenticator,
        tokens=identity.tokens,
        sessions=identity.sessions,
        sign_in=identity.sign_in,
        merging=identity.merging,
        accounts=identity.accounts,
        keys=identity.keys,
        organization=identity.organization,
        audit=identity.audit,
        policies=counting.policies,
        admission=Admission(counting.policies, counting.limiter, counting.ledger),
        limiter=counting.limiter,
        ledger=counting.ledger,
        rollup=UsageRollup(stores, retention_days=settings.usage_retention_days),
        usage_reports=UsageReports(stores),
        export=Export(stores, sections(stores)),
        liveness=state.liveness,
        jobs=state.jobs,
        answers=state.answers,
        threads=state.threads,
        conversations=state.conversations,
        idempotency=state.idempotency,
        responses=state.responses,
        request_extras=frozenset(settings.request_extras),
    )


def _database(settings: Settings, uri: str) -> Database:
    return Database(
        uri,
        settings.mongodb_database,
        timeout_s=settings.mongodb_timeout_s,
        pool_size=settings.mongodb_pool_size,
    )
