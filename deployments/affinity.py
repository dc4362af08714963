"""Where the beginnings of prompts were read lately, and which replica the next one that begins alike should go to.

An engine that has read a prompt's beginning keeps it for a while (vLLM's prefix cache), so that whoever comes with the
same beginning has his first token sooner: the next turn of a conversation, another user of a system prompt. What an
engine really keeps nobody here knows; what it was given lately is a good guess that costs microseconds.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Protocol

from app.domain.model_spec import ModelSpec
from app.services.backend import EngineRequest
from app.services.inference import GENERATIVE

BLOCK = 256
"""Bytes of a block: some sixty tokens. A shorter beginning is not worth a thought."""

GROWTH = 16
"""From ``BLOCK * GROWTH`` bytes on, blocks grow: each ends a sixteenth of the prompt behind the one before."""

READ = 256 * 1024
"""What lies behind so many bytes of a prompt makes no difference."""

SLACK = 6.0
SHARE = 0.5
"""A replica that has read all of a prompt may have so many requests more than another one, and this share of the mean
besides; one that has read a part, that part of it."""

FIRST = 4 * BLOCK
"""Bytes of a prompt that decide among replicas that are equal otherwise."""

ENTRIES = 32768
"""Beginnings remembered for a model: five to ten megabytes of them."""

WARM = 4
"""Replicas remembered for a beginning."""

REPLICAS = 256
"""Replicas of which the round remembers whose turn it was."""

AGE_S = 600.0
"""How long a replica counts as one that has read it."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's beginnings.

    Attributes:
        hashes: One for each block's end, of everything before it: two prompts have as many of them in common as they
            have blocks in common, from the start. They mean nothing in another process.
        length: Bytes of the prompt, as far as it is read.
        start: Its first bytes.
    """

    hashes: tuple[int, ...] = ()
    length: int = 1
    start: bytes = b""


NO_PREFIX = Prefix()


class Routing(Protocol):
    """Chooses among a model's replicas."""

    def read(self, request: EngineRequest) -> Prefix:
        """What it wants to know of a request."""
        ...

    def choose(self, prefix: Prefix, busy: Mapping[str, int]) -> str:
        """The replica to send a request to.

        Args:
            busy: Those that could take it at once, and how many requests each of them has; at least one.
        """
        ...

    def placed(self, prefix: Prefix, replica: str) -> None:
        """Hear where it went."""
        ...


def routing_for(spec: ModelSpec) -> Routing | None:
    """The model's routing; None where there is nothing to choose."""
    return ROUTINGS[spec.routing]() if spec.autoscaling.max_replicas > 1 else None


def prefix_of(body: bytes) -> Prefix:
    """A body's beginnings; the gateway writes the prompt first, so that these are the prompt's."""
    length = min(len(body), READ)
    if length < BLOCK:
        return NO_PREFIX
    hashes: list[int] = []
    before = start = 0
    for end in _ENDS:
        if end > length:
            break
        # Python's own hash is the quickest there is, and keyed: no caller can make two prompts look alike.
        before = hash((before, body[start:end]))
        hashes.append(before)
        start = end
    return Prefix(tuple(hashes), length, body[:FIRST])


class PrefixAffinity:
    """Least loaded, but what a replica has read already counts for it.

    Each replica is judged by its requests and by the part of the prompt that it would have to read, worth up to
    ``SLACK`` requests and ``SHARE`` of the mean: that is how much more than others a replica can come to have. Among
    equals the prompt's own hash decides, the same in every gateway.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readers: OrderedDict[int, Readers] = OrderedDict()
        self._turns = itertools.count()

    def read(self, request: EngineRequest) -> Prefix:
        """See ``Routing``."""
        return prefix_of(request.body) if request.path in GENERATIVE else NO_PREFIX

    def choose(self, prefix: Prefix, busy: Mapping[str, int]) -> str:
        """See ``Routing``."""
        if len(busy) == 1:
            return next(iter(busy))
        known = self.known(prefix)
        saved = (SLACK + SHARE * sum(busy.values()) / len(busy)) / prefix.length
        load = {name: count - saved * known.get(name, 0) for name, count in busy.items()}
        least = min(load.values())
        equals = [name for name in load if load[name] == least]
        return equals[0] if len(equals) == 1 else max(equals, key=partial(_rank, self._key(prefix)))

    def placed(self, prefix: Prefix, replica: str) -> None:
        """See ``Routing``."""
        readers, now = self._readers, self._clock()
        before: Readers | None = None
        after: Readers = ((replica, now),)
        # The first block last: what is forgotten first are ends.
        for hash_ in reversed(prefix.hashes):
            found = readers.get(hash_)
            if found is not before:
                before, after = found, _with(replica, now, found or ())
            readers[hash_] = after
            readers.move_to_end(hash_)
        while len(readers) > ENTRIES:
            readers.popitem(last=False)

    def known(self, prefix: Prefix) -> dict[str, int]:
        """How many bytes of it each replica has read lately."""
        known: dict[str, int] = {}
        oldest = self._clock() - AGE_S
        readers: Readers = ()
        read = 0
        for hash_, end in zip(prefix.hashes, _ENDS, strict=False):
            found = self._readers.get(hash_, ())
            if found is not readers:
                known |= {name: read for name, at in readers if at > oldest}
                readers = found
                if not found:
                    break
            read = end
        return known | {name: read for name, at in readers if at > oldest}

    def _key(self, prefix: Prefix) -> bytes:
        return prefix.start or str(next(self._turns)).encode()

    def __len__(self) -> int:
        return len(self._readers)


class PowerOfTwo:
    """The less loaded of any two: what Serve does by default."""

    def read(self, request: EngineRequest) -> Prefix:
        """See ``Routing``."""
        return NO_PREFIX

    def choose(self, prefix: Prefix, busy: Mapping[str, int]) -> str:
        """See ``Routing``."""
        two = random.sample(list(busy), min(2, len(busy)))
        return min(two, key=lambda name: busy[name])

    def placed(self, prefix: Prefix, replica: str) -> None:
        """See ``Routing``."""


class RoundRobin(PowerOfTwo):
    """One after the other."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, None] = OrderedDict()

    def choose(self, prefix: Prefix, busy: Mapping[str, int]) -> str:
        """See ``Routing``."""
        fresh = next((name for name in busy if name not in self._last), None)
        return fresh or next(name for name in self._last if name in busy)

    def placed(self, prefix: Prefix, replica: str) -> None:
        """See ``Routing``."""
        self._last[replica] = None
        self._last.move_to_end(replica)
        if len(self._last) > REPLICAS:
            self._last.popitem(last=False)


ROUTINGS: Mapping[str, Callable[[], Routing]] = {
    "prefix_affinity": PrefixAffinity,
    "power_of_two": PowerOfTwo,
    "round_robin": RoundRobin,
}
"""By the name that a model's file has for them."""

Readers = tuple[tuple[str, float], ...]
"""Replicas that have read something, and when; the last one first."""


def _ends() -> tuple[int, ...]:
    ends = [BLOCK]
    while ends[-1] < READ:
        ends.append(ends[-1] + max(BLOCK, ends[-1] // GROWTH))
    return tuple(ends)


_ENDS = _ends()


def _with(replica: str, now: float, readers: Readers) -> Readers:
    others = [reader for reader in readers if reader[0] != replica and reader[1] > now - AGE_S]
    return ((replica, now), *others[: WARM - 1])


def _rank(key: bytes, name: str) -> bytes:
    """Rendezvous hashing: every gateway has its replicas in the same order for a key."""
    return blake2b(name.encode() + key, digest_size=8).digest()
