from __future__ import annotations

import time

import pytest

from app.domain.ids import is_id, new_id, tail, with_prefix


def test_a_later_id_is_greater():
    first = new_id("conv")
    time.sleep(0.002)
    assert first < new_id("conv")
    assert len({new_id("conv") for _ in range(1000)}) == 1000


def test_one_thing_has_one_tail_under_all_of_its_names():
    conversation = new_id("conv")
    thread = with_prefix(conversation, "thread")
    assert thread.startswith("thread_")
    assert tail(thread) == tail(conversation)
    assert with_prefix(thread, "conv") == conversation


@pytest.mark.parametrize(
    "text",
    [
        "",
        "conv",
        "conv_",
        "conv_1",
        "conv_" + "g" * 32,
        "conv_" + "A" * 32,
        "conv_" + "a" * 33,
        "conv_" + "a" * 31,
        "conv_" + "a" * 32 + "\n",
        " conv_" + "a" * 32,
        "thread_" + "a" * 32,
        "conv_\x00" + "a" * 31,
        "conv_" + "\u0661" * 32,
    ],
)
def test_what_cannot_be_an_id_is_none(text: str):
    assert not is_id(text, "conv")


def test_ids_that_were_made_as_one_have_two_digits_more():
    assert is_id("msg_" + "a" * 32, "msg")
    assert is_id("msg_" + "a" * 32 + "0f", "msg")
