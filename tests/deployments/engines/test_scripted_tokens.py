"""The tokenizer without a vocabulary loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from deployments.engines.scripted.tokens import MAX_ID, count, decode, encode, pieces

TEXT = st.text(st.characters(exclude_categories=("Cs",))) | st.text(st.sampled_from(' aZ.\n"é東🐟\x00'))


@given(TEXT)
def test_a_text_comes_back(text: str) -> None:
    assert decode(encode(text)) == text
    assert "".join(pieces(text)) == text
    assert count(text) == len(encode(text))


@given(TEXT)
def test_ids_are_exact_in_any_json_reader(text: str) -> None:
    assert all(0 < id_ < 2**53 for id_ in encode(text))


@given(st.lists(TEXT))
def test_tokens_can_be_decoded_one_by_one(texts: list[str]) -> None:
    ids = encode(" ".join(texts))
    assert "".join(decode([id_]) for id_ in ids) == " ".join(texts)


@given(st.lists(st.integers(0, MAX_ID)))
def test_any_ids_stand_for_some_text(ids: list[int]) -> None:
    assert isinstance(decode(ids), str)


@pytest.mark.parametrize("id_", [-1, MAX_ID + 1, 10**40])
def test_ids_out_of_range_are_refused(id_: int) -> None:
    with pytest.raises(InvalidRequest, match="out of range"):
        decode([id_])
