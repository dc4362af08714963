"""Requests that engines died of.

One bad payload must not take down replica after replica. A request whose replica died before answering is tried once
more, apart from other suspects for its first moments, so that a second death points at one of them; a payload that two
replicas did not survive is refused for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from app.services.backend import EngineRequest

REMEMBERED = 1024
SENTENCE_S = 600.0
FATAL = 2


@dataclass(slots=True)
class Record:
    """Which replicas died while they had this payload; the same replica's death counts once for all who were there."""

    replicas: set[str] = field(default_factory=set[str])
    since: float = 0.0


class Quarantine:
    """What this gateway process has seen die.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def fingerprint(self, model: str, request: EngineRequest) -> bytes:
        """What a payload is known by."""
        return hashlib.blake2b(b"\0".join((model.encode(), request.path.encode(), request.body))).digest()

    def is_suspect(self, fingerprint: bytes) -> bool:
        """Whether a replica died with this payload lately."""
        return self._record(fingerprint) is not None

    def is_fatal(self, fingerprint: bytes) -> bool:
        """Whether this payload had its two tries."""
        record = self._record(fingerprint)
        return record is not None and len(record.replicas) >= FATAL

    def died(self, fingerprint: bytes, replica: str) -> None:
        """Note that ``replica`` died before it answered this payload."""
        record = self._record(fingerprint) or self._records.setdefault(fingerprint, Record())
        record.replicas.add(replica)
        record.since = self._clock()
        self._records.move_to_end(fingerprint)
        if len(self._records) > REMEMBERED:
            self._records.popitem(last=False)

    def survived(self, fingerprint: bytes) -> None:
        """Note that this payload was answered: whatever died before, it was not the reason."""
        self._records.pop(fingerprint, None)

    def alone(self, model: str) -> asyncio.Lock:
        """Held through the first moments of a suspect's second try."""
        return self._locks[model]

    def _record(self, fingerprint: bytes) -> Record | None:
        record = self._records.get(fingerprint)
        if record is not None and self._clock() - record.since > SENTENCE_S:
            del self._records[fingerprint]
            return None
        return record
