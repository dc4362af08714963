from __future__ import annotations

import pytest

from app.routers import organization, organization_projects, organization_service_accounts
from app.schemas.body import parse
from app.schemas.common import Strict
from app.schemas.organization import CreateServiceAccountRequest

BODIES = (*organization.BODIES, *organization_projects.BODIES, *organization_service_accounts.BODIES)


@pytest.mark.parametrize("schema", BODIES, ids=lambda schema: schema.__name__)
def test_the_example_of_a_body_is_one(schema: type[Strict]):
    (example,) = schema.model_json_schema()["examples"]
    assert parse(schema, example).model_dump(exclude_unset=True) == example


def test_a_service_account_gets_a_key_unless_it_is_to_have_none():
    key = parse(CreateServiceAccountRequest, {"name": "x"}).key()
    assert key is not None
    assert (key.permissions, key.expires_at) == (["read", "write"], None)
    assert parse(CreateServiceAccountRequest, {"name": "x", "create_service_account_only": True}).key() is None
