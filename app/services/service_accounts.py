"""Programs of a project: users that have keys there, cannot sign in, and are deleted with their keys."""

from __future__ import annotations

from typing import Any

from app.domain.audit_event import Actor
from app.domain.page import Page, PageRequest
from app.domain.principal import Principal
from app.domain.user import User, new_user_id
from app.errors import NotFound
from app.schemas.identity import CreateKeyRequest
from app.services.accounts import Accounts
from app.services.api_keys import KeyService
from app.services.audit import Audit
from app.services.project_access import ProjectAccess
from app.storage.stores import Stores
from app.storage.users import now_ms


class ServiceAccounts:
    """Makes and ends service accounts."""

    def __init__(
        self, stores: Stores, access: ProjectAccess, accounts: Accounts, keys: KeyService, audit: Audit
    ) -> None:
        self._users = stores.users
        self._access = access
        self._accounts = accounts
        self._keys = keys
        self._audit = audit

    async def create(
        self, project_id: str, name: str, key: CreateKeyRequest | None, caller: Principal, actor: Actor
    ) -> tuple[User, dict[str, Any] | None]:
        """A new service account, and its first key if one is wanted.

        Raises:
            Conflict: The project is archived.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project.
            PermissionDenied: The caller may not make keys.
        """
        project = await self._access.open(project_id)
        if key is not None:
            # Refused before there is an account without the key that it was for.
            self._keys.check_may_give(caller, key)
        account = User(new_user_id(), "user", name, now_ms(), service_project=project.id)
        await self._audit.record("service_account.created", actor, account.id, project=project.id)
        await self._users.insert(account)
        return account, key and await self._keys.create(account, key, caller, actor)

    async def add_key(
        self, project_id: str, account_id: str, key: CreateKeyRequest, caller: Principal, actor: Actor
    ) -> dict[str, Any]:
        """Another key of a service account.

        Raises:
            Conflict: The project is archived, or the account has as many keys as one may have.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project or service account.
            PermissionDenied: The caller may not give what the key is to have.
        """
        return await self._keys.create(await self.get(project_id, account_id), key, caller, actor)

    async def list(self, project_id: str, page: PageRequest) -> Page[User]:
        """The service accounts of a project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on an account that is not in the list.
            NotFound: There is no such project.
        """
        await self._access.get(project_id)
        return await self._users.list(page, service_project=project_id)

    async def get(self, project_id: str, account_id: str) -> User:
        """One service account of a project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project or service account.
        """
        project = await self._access.get(project_id)
        return _found(await self._users.get(account_id), project.id)

    async def rename(self, project_id: str, account_id: str, name: str, actor: Actor) -> User:
        """Change what a service account is called.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project or service account.
        """
        await self.get(project_id, account_id)
        await self._audit.record("service_account.updated", actor, account_id, project=project_id, name=name)
        return _found(await self._users.change(account_id, name=name), project_id)

    async def delete(self, project_id: str, account_id: str, caller: Principal, actor: Actor) -> None:
        """Delete a service account, its keys, and all that it made.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project or service account.
        """
        await self.get(project_id, account_id)
        await self._accounts.delete(account_id, caller, actor)


def _found(account: User | None, project_id: str) -> User:
    if account is None or account.service_project != project_id:
        raise NotFound("There is no such service account in this project.", code="service_account_not_found")
    return account
