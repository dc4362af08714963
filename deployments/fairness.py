"""What tenants had of a model, in tokens: virtual token counters (VTC; Sheng et al., OSDI 2024).

Whoever has had least goes first. A tenant that comes back is lifted to the least of those who wait: it has slept
through its share and gets none of it afterwards. How long an answer becomes is not known when its request goes: what
the tenant's last ones took on average is counted for it, and put right when it is over. Each priority has counters of
its own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from app.services.backend import Share

INPUT, OUTPUT = 1.0, 2.0
"""What a token counts: those that are read cost less than those that are written."""

GUESS = 256.0
"""Tokens of an answer of a model that nobody knows yet, unless its request bounds it to fewer."""

RECENT = 16
"""The mean length of answers is about that of the last so many."""

TENANTS = 4096
"""Tenants remembered for a model; one that is forgotten begins where a new one does."""

PRIORITIES = 64
"""Priorities remembered."""

REBASE = 1e12
"""From there on counters are counted from half of it: they stay exact however long a gateway runs."""

LEAST_WEIGHT = 1e-3

Key = tuple[int, str]
"""A priority and a tenant."""


@dataclass(slots=True, eq=False)
class Charge:
    """What a request was counted for when it went.

    Attributes:
        cost: In weighted tokens over the tenant's weight.
        settled: Whether it is known what the request took.
    """

    key: Key
    weight: float
    cost: float
    settled: bool = False


@dataclass(slots=True, eq=False)
class _Account:
    counter: float = 0.0
    mean: float | None = None


def key_of(share: Share) -> Key:
    """Where it is counted."""
    return share.priority, share.tenant


def weight_of(share: Share) -> float:
    """Its weight, above 0 whatever it says."""
    return max(share.weight, LEAST_WEIGHT) if math.isfinite(share.weight) else 1.0


class Fairness:
    """The counters of one model in this process.

    Args:
        tenants: How many are remembered.
    """

    def __init__(self, tenants: int = TENANTS) -> None:
        self._tenants = tenants
        self._accounts: OrderedDict[Key, _Account] = OrderedDict()
        self._last: OrderedDict[int, _Account] = OrderedDict()
        self._mean: float | None = None

    def __len__(self) -> int:
        return len(self._accounts)

    def counter(self, key: Key) -> float:
        """What a tenant has had."""
        return self._account(key).counter

    def lift(self, key: Key, waiting: Iterable[Key]) -> None:
        """A tenant comes that has nobody waiting.

        Args:
            waiting: Those of its priority that have.
        """
        level = min((self.counter(other) for other in waiting if other[0] == key[0]), default=self._level(key[0]))
        account = self._account(key)
        account.counter = max(account.counter, level)

    def cost(self, share: Share) -> float:
        """What a request will be counted for if it goes now; at least one token."""
        return max(1.0, INPUT * share.input_tokens + OUTPUT * self._length(share)) / weight_of(share)

    def charge(self, share: Share) -> Charge:
        """A request goes."""
        key = key_of(share)
        account = self._account(key)
        charge = Charge(key, weight_of(share), self.cost(share))
        account.counter += charge.cost
        self._last[key[0]] = account
        self._last.move_to_end(key[0])
        while len(self._last) > PRIORITIES:
            self._last.popitem(last=False)
        if account.counter > REBASE:
            self._rebase()
        return charge

    def settle(self, charge: Charge, input_tokens: int, output_tokens: int) -> None:
        """A request is over, and took this; nothing happens the second time."""
        if charge.settled:
            return
        account = self._accounts.get(charge.key)
        self._mean = _moved(self._mean, output_tokens)
        if account is not None:
            account.mean = _moved(account.mean, output_tokens)
        cost = max(1.0, INPUT * input_tokens + OUTPUT * output_tokens) / charge.weight
        self._correct(charge, cost)

    def undo(self, charge: Charge) -> None:
        """A request did not go after all."""
        if not charge.settled:
            self._correct(charge, 0.0)

    def _correct(self, charge: Charge, cost: float) -> None:
        charge.settled = True
        if (account := self._accounts.get(charge.key)) is not None:
            account.counter = max(0.0, account.counter + cost - charge.cost)

    def _length(self, share: Share) -> float:
        known = self._accounts.get(key_of(share))
        mean = known.mean if known is not None and known.mean is not None else self._mean
        return min(share.output_tokens, GUESS if mean is None else mean)

    def _account(self, key: Key) -> _Account:
        if (account := self._accounts.get(key)) is None:
            account = self._accounts[key] = _Account(self._level(key[0]))
            if len(self._accounts) > self._tenants:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(key)
        return account

    def _level(self, priority: int) -> float:
        """Where a tenant begins while nobody of its priority waits: at what the last one who went has had."""
        last = self._last.get(priority)
        return 0.0 if last is None else last.counter

    def _rebase(self) -> None:
        # Whoever is below that has been away for so long that he will be lifted.
        for account in {*self._accounts.values(), *self._last.values()}:
            account.counter = max(0.0, account.counter - REBASE / 2)


def _moved(mean: float | None, tokens: int) -> float:
    return float(tokens) if mean is None else mean + (tokens - mean) / RECENT
