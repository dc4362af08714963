"""The collections that a process works with, each behind its repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app.storage.api_keys import ApiKeys
from app.storage.audit_log import AuditLog
from app.storage.database import Database
from app.storage.logins import Logins
from app.storage.ownership import Ownership
from app.storage.project_users import ProjectUsers
from app.storage.projects import Projects
from app.storage.sessions import Sessions
from app.storage.users import Users


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that identity is kept in."""

    users: Users
    keys: ApiKeys
    sessions: Sessions
    audit_log: AuditLog
    ownership: Ownership
    projects: Projects
    project_users: ProjectUsers
    logins: Logins

    @classmethod
    def of(cls, database: Database) -> Self:
        """The repositories over one database."""
        users = Users(database)
        return cls(
            users=users,
            keys=ApiKeys(database, users),
            sessions=Sessions(database),
            audit_log=AuditLog(database),
            ownership=Ownership(database),
            projects=Projects(database),
            project_users=ProjectUsers(database),
            logins=Logins(database),
        )

    async def prepare(self) -> None:
        """Make every index.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        stores = (self.users, self.keys, self.sessions, self.audit_log, self.logins, self.projects, self.project_users)
        for store in stores:
            await store.prepare()
