"""API keys as their owners and admins handle them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.domain.api_key import ApiKey
from app.domain.audit_event import Actor
from app.domain.key_record import DEFAULT_PROJECT, KeyRecord
from app.domain.page import Page, PageRequest
from app.domain.principal import Principal, Scope
from app.domain.user import User
from app.errors import Conflict, NotFound, PermissionDenied
from app.schemas.identity import ChangeKeyRequest, CreateKeyRequest, OwnLimits, stored_limits
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.project_access import ProjectAccess
from app.storage.stores import Stores
from app.storage.users import now_ms

MAX_KEYS = 100
"""Of one owner."""


class KeyService:
    """Makes, changes and ends keys, so that nobody gains by it what they do not have.

    Args:
        secret: Seals keys and keys their digests.
    """

    def __init__(
        self, stores: Stores, access: ProjectAccess, audit: Audit, authenticator: Authenticator, *, secret: bytes
    ) -> None:
        self._keys = stores.keys
        self._users = stores.users
        self._access = access
        self._audit = audit
        self._authenticator = authenticator
        self._secret = secret

    def check_may_give(self, caller: Principal, wanted: CreateKeyRequest) -> None:
        """Return if the caller may make such a key for a service account.

        Raises:
            PermissionDenied: They may not.
        """
        _check_may_manage(caller)
        _check_may_give(caller, None, wanted.permissions, wanted.limits)

    async def create(
        self, owner: User, wanted: CreateKeyRequest, caller: Principal, actor: Actor, project: str | None = None
    ) -> dict[str, Any]:
        """A new key: the only answer that ever holds it.

        Args:
            project: Where it belongs; None for a service account's own, and for people the default one.

        Raises:
            Conflict: The owner has as many as one may have, or the project is archived or cannot be theirs.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project.
            PermissionDenied: The caller may not give what the key is to have.
        """
        project = project or owner.service_project or DEFAULT_PROJECT
        _check_may_manage(caller)
        _check_may_give(caller, owner, wanted.permissions, wanted.limits)
        if await self._keys.count(owner.id) >= MAX_KEYS:
            raise Conflict(f"There are {MAX_KEYS} API keys already, which is as many as one may have. Delete some.")
        if project != DEFAULT_PROJECT or owner.is_service_account:
            await self._access.admit(owner, project, actor)
        key = ApiKey.mint(self._secret)
        record = KeyRecord(
            id=f"key_{key.id}",
            owner=owner.id,
            name=wanted.name,
            redacted_value=key.redacted,
            scopes=tuple(wanted.permissions),
            created_at_ms=now_ms(),
            project=project,
            models=None if wanted.models is None else tuple(wanted.models),
            limits=stored_limits(wanted.limits),
            limits_by_admin=caller.is_admin,
            expires_at_ms=None if wanted.expires_at is None else wanted.expires_at * 1000,
        )
        detail = {"owner": owner.id, "project": project, "permissions": wanted.permissions}
        await self._audit.record("api_key.created", actor, record.id, **detail)
        await self._keys.insert(record, key.digest(self._secret))
        if project != DEFAULT_PROJECT and not await self._access.still(owner, project):
            # Archived, or its owner taken out, between the look and the deed: whoever did that missed this key.
            await self._audit.record("api_key.deleted", actor, record.id, project=project)
            await self._keys.revoke(record.id)
            raise Conflict("The project has just been archived, or its user taken out of it.", code="project_archived")
        return {**record.to_dict(), "key": key.value}

    async def list(self, page: PageRequest, **where: str | None) -> Page[KeyRecord]:
        """Keys of an ``owner``, of a ``project``, of those with one of the ``scopes``, or all.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a key that is not in the list.
        """
        return await self._keys.list(page, **where)

    async def get(self, key_id: str, **where: str | None) -> KeyRecord:
        """One key, of this ``owner`` or ``project`` or with one of the ``scopes``, if such is named.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        return _found(await self._keys.get(key_id, **where))

    async def by_ids(self, ids: Iterable[str]) -> dict[str, KeyRecord]:
        """Those of these that there are or were, for whoever may know of what they did.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._keys.by_ids(ids)

    async def change(
        self, key_id: str, body: ChangeKeyRequest, caller: Principal, actor: Actor, **where: str | None
    ) -> KeyRecord:
        """Change what the body names.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such key.
            PermissionDenied: The caller may not give what the key is to have.
        """
        _check_may_manage(caller)
        before = await self.get(key_id, **where)
        fields = _changed(body, caller)
        if not fields:
            return before
        if set(fields) != {"name"}:
            # To lengthen or widen a key is to give what it has.
            scopes = before.scopes if body.permissions is None else tuple(body.permissions)
            _check_may_give(caller, await self._users.get(before.owner), scopes, body.limits)
        await self._audit.record("api_key.updated", actor, key_id, project=before.project, fields=sorted(fields))
        changed = _found(await self._keys.change(key_id, fields, **where))
        self._authenticator.forget(changed.owner)
        return changed

    async def revoke(self, key_id: str, caller: Principal, actor: Actor, **where: str | None) -> KeyRecord:
        """End a key: from now on here, and within ``principal_cache_s`` everywhere.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such key.
            PermissionDenied: The caller is a restricted key, and this is another one.
        """
        if key_id != caller.key_id:
            _check_may_manage(caller)
        before = await self.get(key_id, **where)
        await self._audit.record("api_key.deleted", actor, key_id, project=before.project)
        revoked = _found(await self._keys.revoke(key_id, **where))
        self._authenticator.forget(revoked.owner)
        return revoked


def _changed(body: ChangeKeyRequest, caller: Principal) -> Mapping[str, Any]:
    said = body.model_fields_set
    fields: dict[str, Any] = {}
    if body.name is not None:
        fields["name"] = body.name
    if body.permissions is not None:
        fields["scopes"] = body.permissions
    if "expires_at" in said:
        fields["expires_at_ms"] = None if body.expires_at is None else body.expires_at * 1000
    if "models" in said:
        fields["models"] = body.models
    if "limits" in said:
        fields["limits"] = stored_limits(body.limits)
        fields["limits_by_admin"] = caller.is_admin
    return fields


def _check_may_manage(caller: Principal) -> None:
    if caller.bounded:
        raise PermissionDenied(
            "This API key is restricted (in models, limits or time), so it may not handle keys. Use another one.",
            code="key_restricted",
        )


def _check_may_give(
    caller: Principal, owner: User | None, scopes: Sequence[Scope], limits: OwnLimits | str | None
) -> None:
    """A credential gives away what it has itself, and no more."""
    missing = [scope for scope in scopes if scope not in caller.scopes]
    if missing:
        raise PermissionDenied(f"You may not give the permission {missing[0]!r}: your own credential lacks it.")
    if "admin" in scopes and not (caller.is_admin and owner is not None and owner.role == "admin"):
        raise PermissionDenied("The permission 'admin' is for keys of admins.")
    if limits == "none" and not caller.is_admin:
        raise PermissionDenied("Only an admin may lift limits.")


def _found(key: KeyRecord | None) -> KeyRecord:
    if key is None:
        raise NotFound("There is no such API key.", code="api_key_not_found")
    return key
