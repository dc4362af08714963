"""Which user somebody is whom the provider vouches for: one who was here, one who was here as a guest, or a new one."""

from __future__ import annotations

import time

from app.domain.audit_event import Actor
from app.domain.login import LoginRefused
from app.domain.origin import Origin
from app.domain.profile import Profile
from app.domain.user import User, new_user_id
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.merging import Merging
from app.storage.stores import Stores
from app.storage.users import IdentityTaken, now_ms

NAMELESS = "Somebody"


class Identities:
    """Finds and makes the users of identities. Two are the same if issuer and subject are, whatever else they share."""

    def __init__(self, stores: Stores, audit: Audit, authenticator: Authenticator, merging: Merging) -> None:
        self._users = stores.users
        self._sessions = stores.sessions
        self._audit = audit
        self._authenticator = authenticator
        self._merging = merging

    async def user_of(self, profile: Profile, session_id: str | None, origin: Origin) -> User:
        """The user, with the name, address and picture that the provider knows now.

        Args:
            session_id: The session in which they began to sign in. A guest's is theirs: what the guest has stays, or
                goes over to the user who was here before.

        Raises:
            DatabaseUnavailable: The database did not answer.
            LoginRefused: The user is disabled, or was deleted just now.
        """
        guest = await self._guest(session_id)
        user = await self._users.by_identity(profile.identity)
        if user is None:
            user = await self._adopted(guest, profile, origin) or await self._made(profile)
        if user.status != "active":
            raise LoginRefused("the user is disabled", target=user.id)
        if guest is not None and guest.id != user.id:
            await self._merging.merge(guest, user, origin)
        return await self._refreshed(user, profile)

    async def _guest(self, session_id: str | None) -> User | None:
        session = None if session_id is None else await self._sessions.get(session_id)
        if session is None or not session.valid(time.time() * 1000):
            return None
        user = await self._users.get(session.owner)
        return user if user and user.is_guest and user.status == "active" else None

    async def _adopted(self, guest: User | None, profile: Profile, origin: Origin) -> User | None:
        """The guest as the user of the identity; None if there is no guest any more."""
        if guest is None:
            return None
        try:
            user = await self._users.adopt(guest.id, profile.identity, **_said_of(guest, profile))
        except IdentityTaken:
            return await self._users.by_identity(profile.identity)
        if user is None:
            return None
        # Who else holds tokens of the guest's, perhaps because they gave them to this browser, must not be the user.
        await self._sessions.end_all(user.id, "the guest signed in")
        self._authenticator.forget(user.id)
        await self._audit.record("guest.upgraded", Actor(user.id, None, origin), user.id)
        return user

    async def _made(self, profile: Profile) -> User:
        user = User(
            new_user_id(),
            "user",
            profile.name or profile.email or NAMELESS,
            now_ms(),
            email=profile.email,
            picture=profile.picture,
            identity=profile.identity,
        )
        try:
            await self._users.insert(user)
        except IdentityTaken:
            # They signed in twice at once.
            found = await self._users.by_identity(profile.identity)
            if found is None:
                raise LoginRefused("the user was deleted just now") from None
            return found
        return user

    async def _refreshed(self, user: User, profile: Profile) -> User:
        current = {"name": user.name, "email": user.email, "picture": user.picture}
        changes = {name: value for name, value in _said_of(user, profile).items() if current[name] != value}
        if not changes:
            return user
        changed = await self._users.change(user.id, where=None, **changes)
        if changed is None:
            raise LoginRefused("the user was deleted just now", target=user.id)
        return changed


def _said_of(user: User, profile: Profile) -> dict[str, str]:
    """What the provider says of a user, but for a name that they chose themselves."""
    return {name: value for name, value in profile.fields.items() if name != "name" or user.name_from == "issuer"}
