"""How tests are dealt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.side_by_side import ALONE, LONG, TOGETHER, OneStart

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", [*TOGETHER, *ALONE, *LONG])
def test_what_is_named_is_there(path: str):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/e2e/test_faults.py::test_one[a/b::c@d]", "tests/e2e/test_faults.py"),
        ("tests/contract/test_engine_chat.py::test_one", "tests/contract/"),
        ("tests/contract/test_engine_life.py::test_one", "tests/contract/"),
        ("tests/e2e/test_curl.py::test_one", "the running service"),
        ("tests/test_readme.py::test_one", "the running service"),
    ],
)
def test_what_shares_something_stays_together(test: str, scope: str):
    assert OneStart._split_scope(OneStart.__new__(OneStart), test) == scope
