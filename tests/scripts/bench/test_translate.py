"""A short round of the benchmark of the way from chats to responses."""

from __future__ import annotations

from scripts.bench.translate import PLAIN, kinds, markdown, measure, misses, options
from tests.app.services.responses.frames import translator
from tests.support.response_events import events


def test_every_kind_of_stream_is_a_whole_answer_of_so_many_tokens():
    for name, chunks in kinds(40).items():
        ours = translator()
        told = b"".join([ours.start(), *map(ours.feed, chunks), ours.finish()])
        assert len([event for event in events(told) if event["type"].endswith(".delta")]) == 40, name
        assert ours.response["status"] == "completed"


def test_all_are_measured_and_told():
    found = measure(2, 30)
    assert all(us > 0 for values in found.values() for us in values)
    text = markdown(found, options([]), {"processor": "x"})
    assert [line.split(" | ")[0].strip("| ") for line in text.splitlines()[-len(found) :]] == list(found)


def test_only_plain_tokens_have_a_target():
    found = {PLAIN: [1.0, 9.0, 2.0], "text, every frame parsed": [50.0]}
    assert misses(found, 2.0) == []
    assert len(misses(found, 1.5)) == 1
