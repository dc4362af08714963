from __future__ import annotations

import pytest

from app.domain.conversation import TITLE_LENGTH, ConversationFilter, new_conversation, title_of


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello there", "Hello there"),
        ("\n\n  What is\tthis?  \nAnd more", "What is this?"),
        ("a\0b\u202ec", "a b c"),
        ("", None),
        (" \n\t ", None),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60),
        ("word " * 20, ("word " * 12).rstrip()),
        ("y" * 59 + " zz", "y" * 59),
        ("y" * 60 + " zz", "y" * 60),
    ],
)
def test_a_title_is_the_first_line_cut_at_a_word(text: str, title: str | None):
    assert title_of(text) == title
    assert title is None or 0 < len(title) <= TITLE_LENGTH


def test_a_conversation_is_shown_in_whole_seconds():
    shown = new_conversation("user_1", 1999, title="Ours").to_dict()
    assert (shown["object"], shown["created_at"], shown["updated_at"], shown["title"]) == ("conversation", 1, 1, "Ours")
    assert "owner" not in shown


def test_a_filter_lets_through_what_is_from_its_first_moment_on_and_before_its_last():
    wanted = ConversationFilter(since_ms=10, until_ms=20)
    assert [at for at in range(30) if wanted.lets_through(at)] == list(range(10, 20))
    assert ConversationFilter().lets_through(0)
