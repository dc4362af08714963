"""The setting that allows vendor extras and their bounds speak of the same ones."""

from __future__ import annotations

from typing import get_args

from app.schemas.extras import VENDOR_EXTRAS
from app.settings import RequestExtra, Settings


def test_every_extra_that_can_be_allowed_has_bounds() -> None:
    assert set(get_args(RequestExtra)) == VENDOR_EXTRAS


def test_all_of_them_are_allowed_by_default() -> None:
    assert set(Settings.model_fields["request_extras"].default) == VENDOR_EXTRAS
