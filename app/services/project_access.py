"""Whose project is whose: what makes a key of a project count."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.audit_event import Actor
from app.domain.key_record import DEFAULT_PROJECT
from app.domain.project import Member, Project, ProjectRole
from app.domain.user import User
from app.errors import Conflict, NotFound
from app.services.audit import Audit
from app.storage.stores import Stores
from app.storage.users import now_ms


class ProjectAccess:
    """Says who is in a project.

    Everybody with an account is in the default project. Admins are in every project, as its owners. A service account
    is in its own alone, and guests are in none.
    """

    def __init__(self, stores: Stores, audit: Audit) -> None:
        self._projects = stores.projects
        self._members = stores.project_users
        self._audit = audit

    async def get(self, project_id: str) -> Project:
        """One project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        return found(await self._projects.get(project_id))

    async def by_ids(self, ids: Iterable[str | None]) -> dict[str, Project]:
        """Those of these that there are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._projects.by_ids(id_ for id_ in ids if id_ is not None)

    async def open(self, project_id: str) -> Project:
        """One project that is not archived.

        Raises:
            Conflict: It is archived.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        project = await self.get(project_id)
        if project.is_archived:
            raise Conflict("This project is archived: nothing can be added to it any more.", code="project_archived")
        return project

    async def roles(self, project: str, users: Iterable[User]) -> dict[str, ProjectRole]:
        """What these users are in a project, by id; who is not in it is left out.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        people = list(users)
        members = await self._members.among(project, (user.id for user in people))
        roles: dict[str, ProjectRole] = {}
        for user in people:
            if (role := _role(project, user, members.get(user.id))) is not None:
                roles[user.id] = role
        return roles

    async def admit(self, user: User, project_id: str, actor: Actor) -> None:
        """Make sure that somebody is in a project that is open: who gets a key there becomes a member.

        Raises:
            Conflict: The project is archived, or it cannot be theirs.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is no such project.
        """
        project = await self.open(project_id)
        if user.is_guest:
            raise Conflict("A guest has to sign in before they can be in a project.", code="guest")
        if await self.roles(project.id, [user]):
            return
        if user.is_service_account:
            raise Conflict("A service account belongs to its own project alone.", code="not_a_person")
        await self._audit.record("project_user.added", actor, user.id, project=project.id, role="member")
        await self._members.insert(Member(project.id, user.id, "member", now_ms()))

    async def still(self, user: User, project_id: str) -> bool:
        """Whether the project is open, and somebody in it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        project = await self._projects.get(project_id)
        return project is not None and not project.is_archived and bool(await self.roles(project_id, [user]))


def found(project: Project | None) -> Project:
    """The project.

    Raises:
        NotFound: There is none.
    """
    if project is None:
        raise NotFound("There is no such project.", code="project_not_found")
    return project


def _role(project: str, user: User, member: Member | None) -> ProjectRole | None:
    if user.is_guest:
        return None
    if user.is_service_account:
        return "member" if user.service_project == project else None
    if user.role == "admin":
        return "owner"
    if member is not None:
        return member.role
    return "member" if project == DEFAULT_PROJECT else None
