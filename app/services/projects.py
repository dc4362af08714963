"""Projects as admins handle them."""

from __future__ import annotations

from app.domain.audit_event import Actor
from app.domain.page import Page, PageRequest
from app.domain.project import Project, new_project_id
from app.errors import Conflict
from app.services.audit import Audit
from app.services.authenticator import Authenticator
from app.services.project_access import ProjectAccess, found
from app.storage.stores import Stores
from app.storage.users import now_ms


class ProjectService:
    """Makes, renames and archives projects."""

    def __init__(self, stores: Stores, access: ProjectAccess, audit: Audit, authenticator: Authenticator) -> None:
        self._projects = stores.projects
        self._keys = stores.keys
        self._access = access
        self._audit = audit
        self._authenticator = authenticator

    async def create(self, name: str, actor: Actor) -> Project:
        """A new project.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        project = Project(new_project_id(), name, now_ms())
        await self._audit.record("project.created", actor, project.id, name=name)
        await self._projects.insert(project)
        return project

    async def list(self, page: PageRequest, *, archived: bool) -> Page[Project]:
        """Projects; the archived too, if they are asked for.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a project that is not in the list.
        """
        return await self._projects.list(page, archived=archived)

    async def get(self, project_id: str) -> Project:
        """One project.

        Raises:
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        return await self._access.get(project_id)

    async def rename(self, project_id: str, name: str, actor: Actor) -> Project:
        """Change what a project is called.

        Raises:
            Conflict: It is archived.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        await self._access.open(project_id)
        await self._audit.record("project.updated", actor, project_id, name=name)
        return found(await self._projects.rename(project_id, name))

    async def archive(self, project_id: str, actor: Actor) -> Project:
        """Close a project for good: every key of it is revoked, and none can be made there again.

        Archiving again revokes again, so that one that was cut short can be finished.

        Raises:
            Conflict: It is the default project.
            DatabaseUnavailable: The database did not answer.
            NotFound: There is none such.
        """
        project = await self.get(project_id)
        if project.is_default:
            raise Conflict("The default project cannot be archived.", code="default_project")
        if not project.is_archived:
            await self._audit.record("project.archived", actor, project_id)
            project = await self._projects.archive(project_id) or await self.get(project_id)
        # Only now: a key that was being made meanwhile either is revoked here or finds the project closed.
        await self._keys.revoke_all(project=project_id)
        self._authenticator.forget()
        return project
