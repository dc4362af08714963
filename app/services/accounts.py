"""Users: as they see themselves, as guests, and as admins handle them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.domain.audit_event import Actor
from app.domain.key_record import seconds
from app.domain.origin import Origin
from app.domain.page import MAX_LIMIT, Page, PageRequest
from app.domain.principal import Principal, Role
from app.domain.user import ADMIN_ID, User, new_user_id
from app.errors import Conflict, NotFound, PermissionDenied
from app.schemas.identity import AddUserRequest, ChangeUserRequest, stored_limits
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.sessions import SessionService, TokenPair
from app.storage.stores import Stores
from app.storage.users import UserKind, now_ms


class Accounts:
    """Adds, changes and deletes users.

    Args:
        guests: Whether people may come in without an account.
    """

    def __init__(
        self,
        stores: Stores,
        session_service: SessionService,
        audit: Audit,
        authenticator: Authenticator,
        *,
        guests: bool,
    ) -> None:
        self._users = stores.users
        self._keys = stores.keys
        self._sessions = stores.sessions
        self._ownership = stores.ownership
        self._session_service = session_service
        self._audit = audit
        self._authenticator = authenticator
        self._guests = guests

    async def add_guest(self, origin: Origin) -> TokenPair:
        """Let somebody in who has no account.

        Raises:
            DatabaseUnavailable: The database did not answer.
            PermissionDenied: This installation has no guests.
        """
        if not self._guests:
            raise PermissionDenied("Guests are not let in here. Sign in, or use an API key.", code="guests_disabled")
        guest = User(new_user_id(), "guest", "Guest", now_ms())
        await self._users.insert(guest)
        await self._audit.record("guest.created", Actor(guest.id, None, origin), guest.id)
        return await self._session_service.start(guest)

    async def get(self, user_id: str) -> User:
        """One user.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        return _found(await self._users.get(user_id))

    async def list(
        self, page: PageRequest, *, role: Role | None = None, emails: Sequence[str] = (), kind: UserKind = "any"
    ) -> Page[User]:
        """Users, those alone of whom everything holds that is said; see ``Users.list``.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a user who is not in the list.
        """
        return await self._users.list(page, role=role, emails=emails, kind=kind)

    async def get_account(self, user_id: str) -> User:
        """One user who is no guest.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        user = await self._users.get(user_id)
        return _found(None if user is None or user.is_guest else user)

    async def by_ids(self, ids: Iterable[str]) -> dict[str, User]:
        """Those of these that there are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._users.by_ids(ids)

    async def ids_of(self, emails: Sequence[str]) -> Sequence[str]:
        """The users that have one of these e-mail addresses: the newest ``MAX_LIMIT``.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return [user.id for user in (await self._users.list(PageRequest(MAX_LIMIT), emails=emails)).items]

    async def add(self, wanted: AddUserRequest, actor: Actor) -> User:
        """Somebody who is to have API keys without signing in.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        user = User(new_user_id(), wanted.role, wanted.name, now_ms(), email=wanted.email)
        await self._audit.record("user.added", actor, user.id, role=user.role)
        await self._users.insert(user)
        return user

    async def rename(self, user_id: str, name: str) -> User:
        """Change what somebody is called.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: They are no more.
        """
        return _found(await self._users.change(user_id, name=name, name_from="own"))

    async def change(self, user_id: str, body: ChangeUserRequest, caller: Principal, actor: Actor) -> User:
        """Change what the body names; whoever is disabled is signed out.

        Raises:
            Conflict: The caller would take their own power, or a guest or a service account would become an admin.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such user.
        """
        user = await self.get(user_id)
        fields = {name: getattr(body, name) for name in body.model_fields_set}
        fields = {name: value for name, value in fields.items() if value is not None or name in ("limits", "plan")}
        if "limits" in fields:
            fields["limits"] = stored_limits(body.limits)
        if not fields:
            return user
        loses = fields.get("role", user.role) != "admin" or fields.get("status", user.status) != "active"
        if user_id == caller.subject and loses:
            raise Conflict("You cannot take your own power. Have another admin do it.", code="own_account")
        if user.is_guest and "role" in fields:
            raise Conflict("A guest has to sign in before they can be more than a guest.", code="guest")
        if user.is_service_account and fields.get("role") == "admin":
            raise Conflict("A service account is a program of one project. It cannot be an admin.", code="not_a_person")
        await self._audit.record("user.updated", actor, user_id, **fields)
        if "name" in fields:
            fields["name_from"] = "own"
        changed = _found(await self._users.change(user_id, **fields))
        if changed.status != "active":
            await self._sessions.end_all(user_id, "user disabled")
        self._authenticator.forget(user_id)
        return changed

    async def revoke_all(self, user_id: str, actor: Actor) -> dict[str, int]:
        """End every session and every key of somebody; how many.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such user.
        """
        await self.get(user_id)
        await self._audit.record("user.credentials_revoked", actor, user_id)
        ended = {
            "sessions": await self._sessions.end_all(user_id, "revoked by an admin"),
            "api_keys": await self._keys.revoke_all(owner=user_id),
        }
        self._authenticator.forget(user_id)
        return ended

    async def sign_out_everywhere(self, user_id: str, actor: Actor) -> int:
        """End every session of somebody; how many.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        await self._audit.record("logout.succeeded", actor, user_id, all=True)
        ended = await self._sessions.end_all(user_id, "logout")
        self._authenticator.forget(user_id)
        return ended

    async def delete(self, user_id: str, caller: Principal, actor: Actor) -> dict[str, int]:
        """Delete a user and all that is theirs; how many documents of which collection.

        Raises:
            Conflict: An admin would delete themself, or somebody the first one.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such user.
        """
        user = await self.get(user_id)
        if user_id == caller.subject and user.role == "admin":
            raise Conflict("An admin cannot delete themself. Have another admin do it.", code="own_account")
        if user_id == ADMIN_ID:
            # The next start would make them anew, and their first key would open everything again.
            raise Conflict("The first admin stays. Disable them, or revoke their keys.", code="first_admin")
        if user.service_project is None:
            await self._audit.record("user.deleted", actor, user_id)
        else:
            await self._audit.record("service_account.deleted", actor, user_id, project=user.service_project)
        # The user last: whoever is there without a document opens nothing, and a deletion cut short can be repeated.
        await self._users.change(user_id, status="disabled")
        deleted = await self._ownership.delete(user_id)
        await self._users.delete(user_id)
        self._authenticator.forget(user_id)
        return deleted


def describe(user: User) -> dict[str, Any]:
    """The user object, as its owner and admins see it."""
    return {
        "id": user.id,
        "object": "user",
        "email": user.email,
        "name": user.name,
        "picture": user.picture,
        "role": user.role,
        "is_guest": user.is_guest,
        "created_at": seconds(user.created_at_ms),
    }


def describe_to_admin(user: User) -> dict[str, Any]:
    """The user object with what decides whether they come in."""
    identity = user.identity
    return {
        **describe(user),
        "status": user.status,
        "limits": user.limits,
        "plan": user.plan,
        "service_project": user.service_project,
        "identity": identity and {"issuer": identity.issuer, "subject": identity.subject},
    }


def _found(user: User | None) -> User:
    if user is None:
        raise NotFound("There is no such user.", code="user_not_found")
    return user
