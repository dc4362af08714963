"""The collection ``project_users``: who is in which project. ``owner`` is the user, as in all that goes with one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from app.domain.page import Page, PageRequest
from app.domain.project import Member, ProjectRole
from app.storage.database import Database, Document, built, change_one
from app.storage.pages import find_page


class ProjectUsers:
    """Who is in which project, and as what."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._members = database.collection("project_users")

    async def prepare(self) -> None:
        """Make the indexes that lists rest on.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        newest = [("created_at_ms", DESCENDING), ("_id", DESCENDING)]
        async with self._database.operation():
            await self._members.create_index([("project", ASCENDING), *newest], name="project")
            await self._members.create_index([("owner", ASCENDING)], name="owner")

    async def insert(self, member: Member) -> bool:
        """Put somebody in a project; False if they are there already.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            try:
                await self._members.insert_one(_document(member))
            except DuplicateKeyError:
                return False
        return True

    async def get(self, project: str, user: str) -> Member | None:
        """Somebody, if they are in the project.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await self._members.find_one({"_id": {"$eq": _id(project, user)}})
        return built(_member, document)

    async def among(self, project: str, users: Iterable[str]) -> dict[str, Member]:
        """Those of these users who are in the project, by id.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        ids = sorted({_id(project, user) for user in users})
        if not ids:
            return {}
        async with self._database.operation():
            documents = await self._members.find({"_id": {"$in": ids}}).to_list(len(ids))
        return {document["owner"]: _member(document) for document in documents}

    async def list(self, project: str, page: PageRequest) -> Page[Member]:
        """Everybody in a project; the page names users.

        Raises:
            DatabaseUnavailable: The database did not answer.
            InvalidRequest: The page hangs on a user who is not in the list.
        """
        after, before = (user and _id(project, user) for user in (page.after, page.before))
        async with self._database.operation():
            return await find_page(
                self._members, {"project": {"$eq": project}}, replace(page, after=after, before=before), _member
            )

    async def change(self, project: str, user: str, role: ProjectRole) -> Member | None:
        """Give somebody another role; None if they are not in the project.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            document = await change_one(self._members, {"_id": {"$eq": _id(project, user)}}, {"$set": {"role": role}})
        return built(_member, document)

    async def delete(self, project: str, user: str) -> bool:
        """Take somebody out of a project; whether they were in it.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        async with self._database.operation():
            return (await self._members.delete_one({"_id": {"$eq": _id(project, user)}})).deleted_count == 1


def _id(project: str, user: str) -> str:
    # One document a pair, without another index: ids have no blanks.
    return f"{project} {user}"


def _document(member: Member) -> Document:
    return {
        "_id": _id(member.project, member.user),
        "project": member.project,
        "owner": member.user,
        "role": member.role,
        "created_at_ms": member.added_at_ms,
    }


def _member(document: Document) -> Member:
    return Member(document["project"], document["owner"], document["role"], document["created_at_ms"])
