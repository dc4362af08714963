from __future__ import annotations

import csv
import io

import pytest

from app.domain.csv_text import csv_text


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_lines_end_as_the_standard_says_and_nothing_is_an_empty_cell():
    assert csv_text([["a", "b"], [1, None]]) == "a,b\r\n1,\r\n"


@pytest.mark.parametrize("text", ["a,b", 'say "hi"', "two\nlines", "two\r\nlines", "Grüße, 世界", "a;b", " a "])
def test_any_text_comes_back_as_it_was(text: str):
    assert read(csv_text([[text, "next"]])) == [[text, "next"]]


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        '=HYPERLINK("http://example.com","x")',
        "=cmd|' /C calc'!A0",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff20x",
    ],
)
def test_no_text_is_taken_for_a_formula(text: str):
    ((cell,),) = read(csv_text([[text]]))
    assert cell == f"'{text}"


@pytest.mark.parametrize("text", ["user_1", "a=b", "a-b", "ada@example.com", "ip:203.0.113.7", "ip:::1", "'quoted", ""])
def test_harmless_texts_stay_what_they_are(text: str):
    assert read(csv_text([[text, "x"]])) == [[text, "x"]]
