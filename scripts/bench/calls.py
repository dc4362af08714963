"""How often a process asks its database: counted by the driver itself, by database and kind of command."""

from __future__ import annotations

from collections import Counter
from functools import cache

from pymongo import monitoring


class DatabaseCalls(monitoring.CommandListener):
    """Every command that was sent since the process began to listen.

    Attributes:
        sent: How many, by the database's name and the command's.
    """

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, str]] = Counter()

    def of(self, database: str) -> Counter[str]:
        """Those to one database, by name."""
        return Counter({name: count for (where, name), count in self.sent.items() if where == database})

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Count it."""
        self.sent[event.database_name, event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing: it was counted."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing: it was counted."""


@cache
def listen() -> DatabaseCalls:
    """The process's counter, once for all: of the clients that are made from now on."""
    calls = DatabaseCalls()
    monitoring.register(calls)
    return calls
