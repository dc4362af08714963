from __future__ import annotations

import pytest

from scripts.bench.stats import Spread, percentile, ratio


def test_a_percentile_is_one_of_the_values():
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile(range(1, 101), 0.07) == 7


def test_few_values_have_their_largest_as_high_percentile():
    assert percentile([7], 0.99) == 7
    assert percentile([1, 2, 3], 0.99) == 3


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0), ([1], 1.5)])
def test_a_percentile_of_nothing_or_beyond_everything_is_refused(values: list[float], share: float):
    with pytest.raises(ValueError, match=r"percentile|share"):
        percentile(values, share)


def test_a_spread_holds_median_and_both_ends():
    assert Spread.of([3, 1, 2]) == Spread(median=2, low=1, high=3)
    assert Spread.of([1, 2]) == Spread(median=1.5, low=1, high=2)
    with pytest.raises(ValueError, match="nothing"):
        Spread.of([])


def test_a_ratio_compares_medians_and_tells_the_rounds_extremes():
    assert ratio([50, 60, 30], [100, 80, 100]) == Spread(median=0.5, low=0.3, high=0.75)


def test_a_ratio_of_different_numbers_of_rounds_is_refused():
    with pytest.raises(ValueError, match="2 rounds against 1"):
        ratio([1, 2], [1])
