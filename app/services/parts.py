"""The services of a process by what they are for, each lot wired in itself: what ``build_services`` puts together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.limit_table import LimitTable
from app.domain.secrets import derived
from app.services.access_tokens import AccessTokens
from app.services.accounts import Accounts
from app.services.answers.journal import Journal
from app.services.answers.keeper import Keeper
from app.services.answers.replays import Replays
from app.services.answers.stored_chats import StoredChatPlace
from app.services.api_keys import KeyService
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.conversation_purge import ConversationPurge
from app.services.conversations import ConversationService
from app.services.idempotency import Idempotency
from app.services.identities import Identities
from app.services.jobs import Jobs
from app.services.limits.limiter import Limiter
from app.services.limits.outage import Mode
from app.services.liveness import Liveness
from app.services.merging import Merging
from app.services.oidc.provider import Provider
from app.services.policies import Policies
from app.services.project_access import ProjectAccess
from app.services.project_users import ProjectUserService
from app.services.projects import ProjectService
from app.services.responses.archive import ResponseArchive
from app.services.service_accounts import ServiceAccounts
from app.services.sessions import SessionService
from app.services.sign_in import SignIn
from app.services.threads import Threads
from app.services.usage.ledger import UsageLedger
from app.settings import Settings
from app.storage.stores import Stores

USAGE_FOLDER = "usage"
"""Below the state folder: what the database has not been told yet."""

ANSWERS_FOLDER = "answers"
"""Beside it: answers that are to be kept."""


@dataclass(frozen=True, slots=True)
class Organization:
    """What admins handle besides users and keys."""

    access: ProjectAccess
    projects: ProjectService
    project_users: ProjectUserService
    service_accounts: ServiceAccounts


@dataclass(frozen=True, slots=True)
class Answers:
    """What keeps answers: who else has a place for them adds it to the keeper."""

    journal: Journal
    keeper: Keeper


@dataclass(frozen=True, slots=True)
class Counting:
    """The services that bound what is used, and write it down."""

    policies: Policies
    limiter: Limiter
    ledger: UsageLedger

    @classmethod
    def of(
        cls,
        settings: Settings,
        stores: Stores,
        audit: Audit,
        limits: LimitTable,
        on_mode: Callable[[Mode], None] | None,
    ) -> Counting:
        """They, as the settings say."""
        limiter = Limiter(
            stores.limits,
            gateways=settings.gateway_replicas,
            timeout_s=settings.limits_timeout_s,
            grace_s=settings.limits_grace_s,
            on_mode=on_mode,
        )
        ledger = UsageLedger(
            stores.usage_events,
            settings.state_dir / USAGE_FOLDER,
            spool_mb=settings.usage_spool_mb,
            grace_s=settings.usage_grace_s,
        )
        return cls(Policies(limits, stores.limit_tables, audit), limiter, ledger)


@dataclass(frozen=True, slots=True)
class State:
    """The services that keep what outlives requests."""

    liveness: Liveness
    jobs: Jobs
    answers: Answers
    conversations: ConversationService
    idempotency: Idempotency
    threads: Threads
    responses: ResponseArchive

    @classmethod
    def of(cls, settings: Settings, stores: Stores) -> State:
        """They, as the settings say."""
        liveness = Liveness(stores.processes, dead_s=settings.process_dead_s)
        keeper = Keeper(stores)
        journal = Journal(settings.state_dir / ANSWERS_FOLDER, keeper, most_mb=settings.answers_spool_mb)
        idempotency = Idempotency(stores.idempotency, liveness)
        keeper.add("completion_id", StoredChatPlace(stores.stored_chats).keep)
        keeper.add("attempt", Replays(idempotency).keep)
        jobs = Jobs(liveness, limit=settings.background_jobs)
        conversations = ConversationService(stores, ConversationPurge(stores))
        threads = Threads.of(
            stores, jobs, liveness, keeper, conversations.purge, per_owner=settings.background_jobs_per_owner
        )
        responses = ResponseArchive(
            stores,
            keeper,
            jobs,
            liveness,
            grace_s=settings.usage_grace_s,
            per_owner=settings.background_jobs_per_owner,
        )
        return cls(liveness, jobs, Answers(journal, keeper), conversations, idempotency, threads, responses)


@dataclass(frozen=True, slots=True)
class Identity:
    """The services that say who is calling."""

    authenticator: Authenticator
    tokens: AccessTokens
    sessions: SessionService
    sign_in: SignIn
    merging: Merging
    accounts: Accounts
    keys: KeyService
    organization: Organization
    audit: Audit

    @classmethod
    def of(cls, settings: Settings, stores: Stores, liveness: Liveness) -> Identity:
        """They, as the settings say."""
        secret = settings.secret()
        audit = Audit(stores.audit_log)
        tokens = AccessTokens(
            settings.token_keys(),
            algorithm=settings.jwt_algorithm,
            issuer=settings.token_issuer,
            ttl_s=settings.access_token_ttl_s,
        )
        authenticator = Authenticator(
            stores,
            tokens,
            secret=secret,
            cache_s=settings.principal_cache_s,
            grace_s=settings.principal_grace_s,
            anonymous_inference=settings.admits_anonymous,
        )
        sessions = SessionService(
            stores,
            tokens,
            audit,
            authenticator,
            refresh_ttl_s=settings.refresh_token_ttl_s,
            session_ttl_s=settings.session_ttl_s,
            key=derived(secret, "refresh tokens"),
        )
        accounts = Accounts(stores, sessions, audit, authenticator, guests=settings.admits_guests)
        access = ProjectAccess(stores, audit)
        keys = KeyService(stores, access, audit, authenticator, secret=secret)
        organization = Organization(
            access=access,
            projects=ProjectService(stores, access, audit, authenticator),
            project_users=ProjectUserService(stores, access, audit, authenticator),
            service_accounts=ServiceAccounts(stores, access, accounts, keys, audit),
        )
        merging = Merging(stores, audit, authenticator, liveness)
        sign_in = SignIn(
            _provider(settings),
            Identities(stores, audit, authenticator, merging),
            sessions,
            stores.logins,
            audit,
            key=derived(secret, "logins"),
            public_url=settings.public_url,
        )
        return cls(authenticator, tokens, sessions, sign_in, merging, accounts, keys, organization, audit)


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_client_id:
        return None
    secret = settings.oidc_client_secret
    return Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        # Set to nothing, it is not set.
        (secret.get_secret_value() or None) if secret else None,
        domains=settings.oidc_allowed_domains,
    )
