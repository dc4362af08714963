"""How tests are dealt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.side_by_side import LONG

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", LONG)
def test_what_is_named_is_there(path: str):
    assert (ROOT / path).exists()
