"""The few statistics that the reports need: no interpolation, no assumption about distributions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed (nearest rank).

    Args:
        values: In any order.
        share: Above 0, at most 1: 0.99 for the 99th percentile.

    Raises:
        ValueError: There are no values, or the share is no share.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, not {share}")
    # Rounded first: 0.07 * 100 is a little more than 7.
    return sorted(values)[math.ceil(round(share * len(values), 9)) - 1]


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds came to: their median, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value a round.

        Raises:
            ValueError: There are no rounds.
        """
        if not values:
            raise ValueError("a spread of nothing")
        return cls(statistics.median(values), min(values), max(values))


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """How ``of`` compares ``to``, both with one value a round.

    Returns:
        The ratio of the medians, with the lowest and highest ratio within a round: the two measurements of a round
        follow one another, so that what slows the whole machine down for a while slows both.

    Raises:
        ValueError: The rounds do not match, or there are none.
    """
    if len(of) != len(to):
        raise ValueError(f"{len(of)} rounds against {len(to)}")
    rounds = Spread.of([a / b for a, b in zip(of, to, strict=True)])
    return Spread(statistics.median(of) / statistics.median(to), rounds.low, rounds.high)
