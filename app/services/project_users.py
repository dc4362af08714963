"""Who is in a project, as admins handle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.audit_event import Actor
from app.domain.page import Page, PageRequest
from app.domain.project import Member, Project, ProjectRole
from app.domain.user import User
from app.errors import Conflict, NotFound
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.project_access import ProjectAccess
from app.storage.stores import Stores
from app.storage.users import now_ms

SHOWN_IDS = 5


@dataclass(frozen=True, slots=True)
class People:
    """Members, and who they are."""

    members: Page[Member]
    users: Mapping[str, User]


class ProjectUserService:
    """Puts people in projects and takes them out. Nobody is put in the default one: everybody is there."""

    def __init__(self, stores: Stores, access: ProjectAccess, audit: Audit, authenticator: Authenticator) -> None:
        self._users = stores.users
        self._keys = stores.keys
        self._members = stores.project_users
        self._access = access
        self._audit = audit
        self._authenticator = authenticator

    async def add(
        self, project_id: str, *, user_id: str | None, email: str | None, role: ProjectRole, actor: Actor
    ) -> tuple[Member, User]:
        """Put somebody in a project, named by id or by an e-mail address.

        Raises:
            Conflict: The project is archived or the default one, they are in it, or the address is of several.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project or user.
        """
        project = await self._access.open(project_id)
        _check_not_default(project)
        user = await (self._person(user_id) if user_id is not None else self._by_email(email or ""))
        member = Member(project.id, user.id, role, now_ms())
        if await self._members.get(project.id, user.id) is None:
            await self._audit.record("project_user.added", actor, user.id, project=project.id, role=role)
            if await self._members.insert(member):
                return member, user
        raise Conflict("This user is in the project already. Their role can be changed.", code="already_member")

    async def list(self, project_id: str, page: PageRequest) -> People:
        """Everybody in a project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a user who is not in the list.
            NotFound: There is no such project.
        """
        project = await self._access.get(project_id)
        if project.is_default:
            users = await self._users.list(page, kind="person")
            members = [_of_default(project, user) for user in users.items]
            return People(Page(members, users.has_more), {user.id: user for user in users.items})
        members = await self._members.list(project.id, page)
        return People(members, await self._users.by_ids(member.user for member in members.items))

    async def get(self, project_id: str, user_id: str) -> tuple[Member, User]:
        """Somebody who is in a project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project, or they are not in it.
        """
        project = await self._access.get(project_id)
        user = await self._person(user_id)
        if project.is_default:
            return _of_default(project, user), user
        return _found(await self._members.get(project.id, user_id)), user

    async def change(self, project_id: str, user_id: str, role: ProjectRole, actor: Actor) -> tuple[Member, User]:
        """Give somebody another role in a project.

        Raises:
            Conflict: The project is archived, or the default one.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project, or they are not in it.
        """
        _check_not_default(await self._access.open(project_id))
        _, user = await self.get(project_id, user_id)
        await self._audit.record("project_user.updated", actor, user_id, project=project_id, role=role)
        return _found(await self._members.change(project_id, user_id, role)), user

    async def remove(self, project_id: str, user_id: str, actor: Actor) -> None:
        """Take somebody out of a project; their keys of it are revoked.

        Raises:
            Conflict: It is the default project.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project, or they are not in it.
        """
        _check_not_default(await self._access.get(project_id))
        _found(await self._members.get(project_id, user_id))
        await self._audit.record("project_user.deleted", actor, user_id, project=project_id)
        # Keys first: an act cut short can be repeated as long as there is a member.
        await self._keys.revoke_all(owner=user_id, project=project_id)
        await self._members.delete(project_id, user_id)
        await self._keys.revoke_all(owner=user_id, project=project_id)
        self._authenticator.forget(user_id)

    async def _person(self, user_id: str) -> User:
        user = await self._users.get(user_id)
        if user is None or user.is_guest or user.is_service_account:
            raise NotFound("There is no such user.", code="user_not_found")
        return user

    async def _by_email(self, email: str) -> User:
        users: Sequence[User] = (await self._users.list(PageRequest(SHOWN_IDS), emails=[email], kind="person")).items
        if not users:
            raise NotFound("Nobody here has this e-mail address.", code="user_not_found")
        if len(users) > 1:
            ids = ", ".join(user.id for user in users)
            raise Conflict(
                f"More than one user has this e-mail address: {ids}. Send `user_id`.", code="ambiguous_email"
            )
        return users[0]


def _of_default(project: Project, user: User) -> Member:
    role: ProjectRole = "owner" if user.role == "admin" else "member"
    return Member(project.id, user.id, role, max(project.created_at_ms, user.created_at_ms))


def _check_not_default(project: Project) -> None:
    if project.is_default:
        raise Conflict(
            "Everybody with an account is in the default project, admins as its owners: that cannot be changed.",
            code="default_project",
        )


def _found(member: Member | None) -> Member:
    if member is None:
        raise NotFound("This user is not in the project.", code="user_not_found")
    return member
