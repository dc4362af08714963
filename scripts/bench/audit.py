"""Usage against the engine's own books: who has an event, and whether it tells the tokens that left."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient

from deployments.engines.scripted.books import Call, read

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """What the database has of a request."""

    status: str
    output_tokens: int


@dataclass(slots=True)
class Truth:
    """What the engine's books say of a request, over all replicas that had it.

    Attributes:
        left: Tokens that left a replica for certain.
        leaving: The same, with those that a replica was killed over.
    """

    left: int = 0
    leaving: int = 0


@dataclass(slots=True)
class Audit:
    """How the two compare.

    Attributes:
        begun: Requests that an engine began.
        events: Requests that have an event.
        emitted: Tokens that left, and those that may have.
        told: Tokens of all events.
        missing: Begun and without event.
        doubles: With more than one.
        wrong: Events of another number of tokens, and both numbers.
        lost: Lost together with all who knew what they took; and how many tokens that was.
        unsure: Requests of a replica that was killed in the very moment in which tokens left.
        unbegun: Events of requests that a gateway had sent and no engine began, by status.
        invented: Such events with tokens.
        statuses: Of all events.
        pending: What the database has not been told in time.
    """

    begun: int = 0
    events: int = 0
    emitted: tuple[int, int] = (0, 0)
    told: int = 0
    missing: list[str] = field(default_factory=list[str])
    doubles: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    lost: tuple[int, int] = (0, 0)
    unsure: int = 0
    unbegun: Counter[str] = field(default_factory=Counter[str])
    invented: list[str] = field(default_factory=list[str])
    statuses: Counter[str] = field(default_factory=Counter[str])
    pending: list[str] = field(default_factory=list[str])

    @property
    def faults(self) -> dict[str, list[str]]:
        """What must not be, by name; empty if usage is exact."""
        named = {
            "missing": self.missing,
            "double": self.doubles,
            "wrong": self.wrong,
            "invented": self.invented,
            "pending": self.pending,
        }
        return {name: found for name, found in named.items() if found}


def truth_of(calls: Iterable[Call]) -> dict[str, Truth]:
    """The books by request id."""
    truth: defaultdict[str, Truth] = defaultdict(Truth)
    for call in calls:
        truth[call.request_id].left += call.left
        truth[call.request_id].leaving += call.leaving
    return dict(truth)


def audit(truth: Mapping[str, Truth], events: Iterable[tuple[str, Event]]) -> Audit:
    """Compare."""
    found = Audit(begun=len(truth))
    found.emitted = (sum(each.left for each in truth.values()), sum(each.leaving for each in truth.values()))
    found.unsure = sum(each.left != each.leaving for each in truth.values())
    seen: set[str] = set()
    for request_id, event in events:
        if request_id in seen:
            found.doubles.append(request_id)
        seen.add(request_id)
        found.told += event.output_tokens
        found.statuses[event.status] += 1
        _compare(found, request_id, truth.get(request_id), event)
    found.events = len(seen)
    found.missing = [request_id for request_id in truth if request_id not in seen]
    return found


def _compare(found: Audit, request_id: str, truth: Truth | None, event: Event) -> None:
    if truth is None:
        found.unbegun[event.status] += 1
        if event.output_tokens or event.status == "completed":
            found.invented.append(f"{request_id}: {event.status}, {event.output_tokens} tokens")
    elif event.status == "lost":
        requests, tokens = found.lost
        found.lost = (requests + 1, tokens + truth.leaving - event.output_tokens)
    elif not truth.left <= event.output_tokens <= truth.leaving:
        gave = f"{truth.left}..{truth.leaving}" if truth.left != truth.leaving else f"{truth.left}"
        found.wrong.append(f"{request_id}: {event.status}, {event.output_tokens} tokens told, {gave} given")


class Ledger:
    """What a service keeps of usage, looked at from outside.

    Args:
        state_dir: Its state folder, with the embedded database.
        books: The folder of the engine's.
    """

    def __init__(self, state_dir: Path, books: Path) -> None:
        self._usage = state_dir / "usage"
        self._port = state_dir / "database" / "port"
        self._books = books

    def truth(self) -> dict[str, Truth]:
        """What the engine gave out so far."""
        return truth_of(read(self._books))

    def events(self) -> list[tuple[str, Event]]:
        """All that the database has, by the engine's name for the request."""
        client: MongoClient[dict[str, Any]] = MongoClient(f"mongodb://127.0.0.1:{self._port.read_text()}")
        with client:
            return [
                (each["_id"].removeprefix("req_"), Event(each["status"], each["output_tokens"]))
                for each in client["manta"]["usage_events"].find({}, {"status": 1, "output_tokens": 1})
            ]

    def settled(self, timeout_s: float) -> Audit:
        """Wait until the database has been told everything, but no longer than so many seconds, and compare."""
        deadline = time.monotonic() + timeout_s
        while True:
            pending = self.pending()
            found = audit(self.truth(), self.events())
            found.pending = pending
            if time.monotonic() > deadline or (not pending and not found.missing):
                return found
            time.sleep(POLL_S)

    def pending(self) -> list[str]:
        """What the database has yet to be told: events in spools, and spools of the dead."""
        waiting: list[str] = []
        for folder in sorted(self._usage.glob("[!.]*")):
            if not psutil.pid_exists(int(folder.name.partition("-")[0])):
                waiting.append(f"{folder.name} is a dead process's")
            waiting += [f"{folder.name}/{path.name}" for path in folder.glob("*.events")]
        return waiting
