from __future__ import annotations

import pytest

from app.domain.words import MAX_LENGTH, wanted_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The quick, brown FOX!", ["the", "quick", "brown", "fox"]),
        ("again and again", ["again", "and"]),
        ("Crème brûlée à la carte", ["creme", "brulee", "a", "la", "carte"]),
        ("Straße STRASSE", ["strasse"]),
        ("don't snake_case 3.14", ["don", "t", "snake_case", "3", "14"]),
        ("Привет, мир", ["привет", "мир"]),
        ("\ufb01n\u0301 ﬁ", ["fin", "fi"]),
        ("", []),
        ("?! --\n", []),
        ("x" * 100, ["x" * MAX_LENGTH]),
        ("a\0b", ["a", "b"]),
    ],
)
def test_words_have_no_case_and_no_accents(text: str, words: list[str]):
    assert words_of(text, 100) == words
    assert wanted_words(text, 100) == words


def test_scripts_without_blanks_are_found_by_pairs_and_single_characters():
    assert words_of("東京都", 100) == ["東", "京", "都", "東京", "京都"]
    assert wanted_words("東京都", 100) == ["東京", "京都"]
    assert wanted_words("京", 100) == ["京"]
    assert words_of("iPhone買う", 100) == ["iphone", "買", "う", "買う"]


@pytest.mark.parametrize("query", ["東京", "京都", "都", "iphone", "Café", "CAFE"])
def test_what_is_wanted_is_among_the_words_of_a_text_that_has_it(query: str):
    assert set(wanted_words(query, 9)) <= set(words_of("東京都のiPhone in the café", 100))


def test_so_many_words_count_and_no_more():
    text = " ".join(f"w{n}" for n in range(100))
    assert words_of(text, 3) == wanted_words(text, 3) == ["w0", "w1", "w2"]
