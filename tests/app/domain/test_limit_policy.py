"""Which limits bind whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.limit_policy import Bounds, Policy
from app.domain.limit_table import LimitTable
from app.domain.model_spec import ModelSpec
from app.domain.principal import USE, Principal

MODEL = ModelSpec.model_validate({"id": "org/some.model", "engine": "scripted", "aliases": ["nick"]})
OTHER = ModelSpec.model_validate({"id": "other", "engine": "scripted"})

USER = Principal("user", "user_1", "user", USE)
KEY = Principal("api_key", "user_1", "user", USE, key_id="key_1", project_id="proj_1")
GUEST = Principal("guest", "user_2", "guest", USE)
NOBODY = Principal.anonymous("10.0.0.1")

TABLE: dict[str, Any] = {
    "anonymous": [{"inference_requests": 10, "per": "minute"}, {"requests": 100, "per": "hour"}],
    "guest": [{"inference_requests": 10, "per": "minute"}],
    "user": [{"inference_requests": 60, "per": "minute"}, {"requests": 1000, "per": "hour"}],
    "api_key": [{"requests": 1000, "per": "hour"}],
    "plans": {"pro": {"user": [{"inference_requests": 600, "per": "minute"}], "weight": 4, "priority": 2}},
}


def policy(**more: Any) -> Policy:
    return Policy.of(LimitTable.model_validate({**TABLE, **more}))


def told(bounds: Bounds) -> set[tuple[str, str, int]]:
    return {(bound.subject, bound.name, bound.limit.count) for bound in bounds}


def test_a_chat_counts_for_its_users_minute_and_hour() -> None:
    assert told(policy().of_request(USER, inference=True)) == {
        ("user:user_1", "all:inference_requests/minute", 60),
        ("user:user_1", "all:requests/hour", 1000),
    }


def test_other_requests_count_for_the_hour_alone() -> None:
    assert told(policy().of_request(USER, inference=False)) == {("user:user_1", "all:requests/hour", 1000)}


def test_a_key_is_counted_in_its_users_document_beside_the_user() -> None:
    assert told(policy().of_request(KEY, inference=True)) == {
        ("user:user_1", "all:inference_requests/minute", 60),
        ("user:user_1", "all:requests/hour", 1000),
        ("user:user_1", "key_1:requests/hour", 1000),
    }


def test_the_anonymous_are_counted_by_address() -> None:
    bounds = policy().of_request(NOBODY, inference=True)
    assert {bound.subject for bound in bounds} == {"ip:10.0.0.1"}
    assert {bound.limit.count for bound in bounds} == {10, 100}


def test_whoever_has_a_network_of_ipv6_addresses_is_one_caller() -> None:
    first, second, stranger = (
        policy().of_request(Principal.anonymous(address), inference=True)[0].subject
        for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    )
    assert first == second == "ip:2001:db8:1:2::/64" != stranger


def test_guests_have_limits_of_their_own() -> None:
    assert told(policy().of_request(GUEST, inference=True)) == {
        ("user:user_2", "all:inference_requests/minute", 10),
    }


@pytest.mark.parametrize("lifted", [replace(KEY, key_limits="none"), replace(USER, user_limits="none")])
def test_whose_limits_are_lifted_is_not_counted(lifted: Principal) -> None:
    assert policy().of_request(lifted, inference=True) == ()
    assert policy().of_work(lifted, MODEL) == ()


def test_lifting_a_users_limits_leaves_those_that_a_key_was_given() -> None:
    key = replace(KEY, user_limits="none", key_limits=(("requests_per_minute", 5),))
    assert told(policy().of_request(key, inference=True)) == {("user:user_1", "key_1:inference_requests/minute", 5)}


def test_lifting_limits_does_not_lift_those_of_models_and_the_organization() -> None:
    more = policy(
        models={"org/some.model": [{"tokens": 9, "per": "minute"}]}, organization=[{"tokens": 99, "per": "day"}]
    )
    assert told(more.of_work(replace(KEY, key_limits="none"), MODEL)) == {
        ("model:org/some.model", "all:tokens/minute", 9),
        ("organization", "all:tokens/day", 99),
    }


def test_people_can_narrow_their_keys_and_not_widen_them() -> None:
    wide = replace(KEY, key_limits=(("requests_per_hour", 5000),))
    narrow = replace(KEY, key_limits=(("requests_per_hour", 5),))
    assert ("user:user_1", "key_1:requests/hour", 1000) in told(policy().of_request(wide, inference=False))
    assert ("user:user_1", "key_1:requests/hour", 5) in told(policy().of_request(narrow, inference=False))


def test_admins_can_widen_a_key_and_a_user() -> None:
    key = replace(KEY, key_limits=(("requests_per_hour", 5000),), key_limits_by_admin=True)
    user = replace(USER, user_limits=(("requests_per_minute", 600),))
    assert ("user:user_1", "key_1:requests/hour", 5000) in told(policy().of_request(key, inference=False))
    assert told(policy().of_request(user, inference=True)) == {
        ("user:user_1", "all:inference_requests/minute", 600),
        ("user:user_1", "all:requests/hour", 1000),
    }


def test_a_plan_takes_the_place_of_the_tables_limits() -> None:
    pro = replace(USER, plan="pro")
    assert told(policy().of_request(pro, inference=True)) == {("user:user_1", "all:inference_requests/minute", 600)}
    assert policy().plan_of(pro).weight == 4
    assert policy().plan_of(pro).priority == 2


def test_a_plan_that_is_no_more_is_none() -> None:
    assert told(policy().of_request(replace(USER, plan="gone"), inference=True)) == told(
        policy().of_request(USER, inference=True)
    )


def test_tokens_and_concurrency_bind_once_the_request_is_known() -> None:
    more = policy(user=[{"tokens": 500, "per": "minute"}, {"concurrent_requests": 2}, {"requests": 9, "per": "hour"}])
    assert told(more.of_request(USER, inference=True)) == {("user:user_1", "all:requests/hour", 9)}
    assert told(more.of_work(USER, MODEL)) == {
        ("user:user_1", "all:tokens/minute", 500),
        ("user:user_1", "all:concurrent_requests", 2),
    }


def test_a_limit_of_one_model_binds_requests_to_it_by_whatever_name() -> None:
    more = policy(user=[{"inference_requests": 3, "per": "minute", "model": "nick"}])
    assert told(more.of_work(USER, MODEL)) == {("user:user_1", "all:inference_requests/minute:nick", 3)}
    assert more.of_work(USER, OTHER) == ()


def test_a_limit_of_each_model_counts_every_one_on_its_own() -> None:
    more = policy(user=[{"tokens": 7, "per": "minute", "model": "each"}])
    names = {bound.name for spec in (MODEL, OTHER) for bound in more.of_work(USER, spec)}
    assert names == {"all:tokens/minute:each:org/some%2Emodel", "all:tokens/minute:each:other"}


def test_names_of_windows_are_names_that_documents_can_have() -> None:
    more = policy(user=[{"tokens": 7, "per": "minute", "model": "each"}])
    for bound in more.of_work(USER, MODEL):
        assert not set(bound.name) & set(".$\0")


def test_projects_count_all_their_keys_together() -> None:
    more = policy(project=[{"requests": 50, "per": "hour"}])
    assert ("project:proj_1", "all:requests/hour", 50) in told(more.of_request(KEY, inference=False))
    assert all(bound.subject != "project:proj_1" for bound in more.of_request(USER, inference=False))


def test_bounds_of_one_document_stand_together() -> None:
    more = policy(project=[{"requests": 50, "per": "hour"}], organization=[{"requests": 50, "per": "hour"}])
    subjects = [bound.subject for bound in more.of_request(KEY, inference=True)]
    assert subjects == sorted(subjects, key=["user:user_1", "project:proj_1", "organization"].index)


def test_the_same_caller_gets_the_very_same_bounds() -> None:
    one = policy()
    assert one.of_request(KEY, inference=True) is one.of_request(replace(KEY), inference=True)


def test_a_row_for_every_model_and_one_for_this_are_two_counts() -> None:
    rows = [
        {"tokens": count, "per": "minute", "model": model} for count, model in ((9, "each"), (5, MODEL.id), (7, "nick"))
    ]
    bounds = policy(user=rows).of_work(USER, MODEL)
    assert sorted(bound.limit.count for bound in bounds) == [5, 7, 9]
    assert len({bound.name for bound in bounds}) == 3


@pytest.mark.parametrize(("spend", "billionths"), [(0.1 + 0.2, 300_000_000), (1e-10, 1), (25.5, 25_500_000_000)])
def test_own_budgets_are_whole_billionths(spend: float, billionths: int) -> None:
    held = replace(USER, user_limits=(("monthly_spend", spend),))
    (bound,) = (bound for bound in policy().of_work(held, OTHER) if bound.limit.what == "spend")
    assert bound.limit.count == billionths
