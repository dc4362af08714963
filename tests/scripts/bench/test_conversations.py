"""A short round of the benchmark of long lists, beside the tests' database."""

from __future__ import annotations

from pathlib import Path

from scripts.bench.conversations import markdown, measure, misses, options
from tests.support.mongo import MongoServer


async def test_every_page_of_both_is_measured(mongodb: MongoServer, tmp_path: Path):
    chosen = options(["--few", "30", "--many", "60", "--rounds", "2"])
    found = await measure(mongodb.uri, tmp_path, chosen)
    assert len(found) > 15
    assert all(len(few) == len(many) == 2 and min(*few, *many) > 0 for few, many in found.values())
    text = markdown(found, chosen, {"processor": "x"})
    assert [line.split(" | ")[0].strip("| ") for line in text.splitlines()[-len(found) :]] == list(found)


def test_what_grows_too_much_is_named():
    found = {"a page": ([1.0, 1.0, 1.0], [2.0, 9.0, 2.0]), "a search": ([1.0, 1.0, 1.0], [4.0, 4.0, 1.0])}
    assert misses(found, 3) == ["a search: 4.0 times, over the target of 3"]
