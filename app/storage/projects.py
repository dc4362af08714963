"""The collection ``projects``: the installation's own, so without an owner in its filters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.key_record import DEFAULT_PROJECT
from app.domain.page import Page, PageRequest
from app.domain.project import Project
from app.storage.database import Database, Document, built, change_one, find_each
from app.storage.pages import find_page
from app.storage.users import now_ms


class Projects:
    """Projects; the default one is always there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._projects = database.collection("projects")

    async def prepare(self) -> None:
        """Make the index that lists rest on, and the default project.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._projects.create_index([("created_at_ms", DESCENDING), ("_id", DESCENDING)], name="created")
            with contextlib.suppress(DuplicateKeyError):
                await self._projects.insert_one(_document(Project(DEFAULT_PROJECT, "Default project", now_ms())))

    async def insert(self, project: Project) -> None:
        """Store a new project.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            await self._projects.insert_one(_document(project))

    async def get(self, project_id: str) -> Project | None:
        """The project of this id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._projects.find_one({"_id": {"$eq": project_id}})
        return built(_project, document)

    async def by_ids(self, ids: Iterable[str]) -> dict[str, Project]:
        """Those of these that there are.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return await find_each(self._projects, ids, _project)

    async def list(self, page: PageRequest, *, archived: bool = False) -> Page[Project]:
        """Projects; the archived too, if they are asked for.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a project that is not in the list.
        """
        where: Document = {} if archived else {"archived_at_ms": None}
        async with self._database.operation():
            return await find_page(self._projects, where, page, _project)

    async def rename(self, project_id: str, name: str) -> Project | None:
        """Change what a project is called; None if there is none such, or it is archived.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._change(project_id, {"name": name})

    async def archive(self, project_id: str) -> Project | None:
        """Close a project for good; None if there is none such, or it was closed before.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._change(project_id, {"archived_at_ms": now_ms()})

    async def _change(self, project_id: str, fields: Document) -> Project | None:
        async with self._database.operation():
            where = {"_id": {"$eq": project_id}, "archived_at_ms": None}
            document = await change_one(self._projects, where, {"$set": fields})
        return built(_project, document)


def _document(project: Project) -> Document:
    return {
        "_id": project.id,
        "name": project.name,
        "created_at_ms": project.created_at_ms,
        "archived_at_ms": project.archived_at_ms,
    }


def _project(document: Document) -> Project:
    return Project(document["_id"], document["name"], document["created_at_ms"], document["archived_at_ms"])
