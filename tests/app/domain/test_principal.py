from __future__ import annotations

import dataclasses

import pytest

from app.domain.principal import Principal


def test_the_anonymous_are_told_apart_by_address():
    one, other = Principal.anonymous("10.0.0.1"), Principal.anonymous("10.0.0.2")
    assert one.subject == "ip:10.0.0.1"
    assert one != other
    assert one == Principal.anonymous("10.0.0.1")


def test_the_anonymous_may_look_and_infer_and_have_no_key():
    caller = Principal.anonymous("10.0.0.1")
    assert (caller.kind, caller.role, caller.scopes, caller.key_id) == (
        "anonymous",
        "anonymous",
        {"read", "write"},
        None,
    )


def test_a_principal_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Principal.anonymous("x").role = "admin"  # type: ignore[misc]
