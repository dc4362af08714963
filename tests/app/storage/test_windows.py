from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from app.domain.page import PageRequest
from app.errors import InvalidRequest
from app.storage.windows import Place, Windowed


class Listed:
    """A list in memory that counts what is read of it."""

    def __init__(self, places: Sequence[Place], bits: int = 0) -> None:
        self.places = sorted(places)
        self.windows: list[tuple[int, int]] = []
        end = (self.places[-1][0] >> bits) + 1 if places else 0
        self.windowed = Windowed(self.fetch, lambda place: place, self.find, end, bits=bits)
        self._bits = bits

    async def fetch(self, low: int, high: int) -> Sequence[Place]:
        self.windows.append((low, high))
        found = [place for place in self.places if low << self._bits <= place[0] < high << self._bits]
        return random.Random(low).sample(found, len(found))

    async def find(self, id_: str) -> Place | None:
        return next((place for place in self.places if place[1] == id_), None)

    def expected(self, page: PageRequest) -> tuple[list[Place], bool]:
        places = self.places if page.order == "asc" else self.places[::-1]
        ids = [id_ for _, id_ in places]
        start = 0 if page.after is None else ids.index(page.after) + 1
        end = len(ids) if page.before is None else ids.index(page.before)
        between = places[start:end]
        backwards = page.before is not None and page.after is None
        shown = between[-page.limit :] if backwards else between[: page.limit]
        return shown, len(between) > page.limit


@pytest.mark.parametrize("bits", [0, 3])
@pytest.mark.parametrize("seed", range(40))
async def test_pages_are_those_of_the_list_whatever_its_gaps_and_ties(seed: int, bits: int):
    chance = random.Random(seed)
    numbers = [chance.choice((chance.randrange(40), chance.randrange(6000))) for _ in range(chance.randrange(60))]
    listed = Listed([(number, f"id{index:03}") for index, number in enumerate(numbers)], bits)
    ids: list[str | None] = [None, None, *(id_ for _, id_ in listed.places)]
    for _ in range(10):
        order = chance.choice(("asc", "desc"))
        page = PageRequest(chance.randrange(1, 12), chance.choice(ids), chance.choice(ids), order)
        found = await listed.windowed.page(page)
        assert (list(found.items), found.has_more) == listed.expected(page)


async def test_a_long_list_is_read_as_far_as_is_needed():
    listed = Listed([(number, f"{number}") for number in range(100_000)])
    for page in (PageRequest(), PageRequest(order="asc"), PageRequest(after="50000"), PageRequest(before="50000")):
        listed.windows.clear()
        assert len((await listed.windowed.page(page)).items) == 20
        assert sum(high - low for low, high in listed.windows) < 120


async def test_windows_grow_over_a_gap_and_stay_within_bounds():
    listed = Listed([(0, "first"), (100_000, "last")])
    await listed.windowed.page(PageRequest())
    widths = [high - low for low, high in listed.windows]
    assert len(widths) < 120
    assert max(widths) == listed.windowed.widest


@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_page_hangs_on_what_is_in_the_list(name: str):
    with pytest.raises(InvalidRequest):
        await Listed([(1, "a")]).windowed.page(PageRequest(**{name: "b"}))
