"""``manta users`` and ``manta keys`` against a gateway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from app.cli.errors import CliError
from app.cli.keys import seconds
from app.cli.main import build_cli
from app.domain.user import ADMIN_ID
from tests.support.gateway import CHAT, Gateway, GatewayFactory, new_user
from tests.support.people import bearer, signed_in
from tests.support.ports import free_port

Manta = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture(loop_scope="session")
async def service(
    new_gateway: GatewayFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """A service, whose first key is in the state folder."""
    monkeypatch.setenv("MANTA_STATE_DIR", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    async with new_gateway() as running:
        (tmp_path / "home" / "api-key").write_text(running.key + "\n")
        yield running


@pytest.fixture
def manta(service: Gateway) -> Manta:
    """Runs ``manta`` in a thread, as a command of its own."""

    async def run(*arguments: str, says: str = "", key: str | None = None) -> Result:
        command = [*arguments, "--url", service.url, *(("--key", key) if key else ())]
        return await asyncio.to_thread(CliRunner().invoke, build_cli(), command, says)

    return run


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[0]


async def added(manta: Manta, *arguments: str) -> str:
    """The id of a new user."""
    result = await manta("users", "add", *arguments)
    assert result.exit_code == 0, result.output
    return found(r"user_\w+", result.output)


async def enters(service: Gateway, key: str) -> bool:
    answer = await service.anonymous.get("/v1/user/profile", headers=bearer(key))
    return answer.status_code == 200


async def test_somebody_is_added_and_gets_a_key_that_opens(manta: Manta, service: Gateway):
    ada = await added(manta, "--name", "Ada", "--email", "ada@example.com")
    result = await manta("keys", "create", "--user", "ada@example.com", "--name", "Ada's notebook")
    assert result.exit_code == 0, result.output
    key = result.stdout.removesuffix("\n")
    assert key.startswith("sk-manta-"), "a script can take standard output as it is"
    assert "\n" not in key
    assert "not again" in result.stderr
    assert "for Ada" in result.stderr
    assert key not in result.stderr
    me = await service.anonymous.get("/v1/user/profile", headers=bearer(key))
    assert me.json()["id"] == ada


async def test_users_are_listed_and_shown(manta: Manta, service: Gateway):
    ada = await added(manta, "--name", "Ada", "--email", "ada@example.com")
    root = await added(manta, "--name", "Root", "--admin")
    await manta("keys", "create", "--user", ada, "--name", "x")
    lines = (await manta("users", "list")).output.splitlines()
    assert [line.split()[0] for line in lines] == [root, ada, ADMIN_ID]
    assert lines[1].split() == [ada, "user", "active", "ada@example.com", "Ada"]
    assert lines[0].split() == [root, "admin", "active", "-", "Root"]
    admins = (await manta("users", "list", "--role", "admin")).output
    assert (root in admins, ada in admins) == (True, False)
    shown = (await manta("users", "show", "ada@example.com")).output
    assert re.search(rf"^id +{ada}$", shown, re.M), shown
    assert re.search(r"^API keys +1$", shown, re.M), shown


async def test_lists_go_on_to_their_end(manta: Manta, service: Gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.cli.api_client.PAGE", 2)
    users = [await new_user(service.services, name=f"U{number}") for number in range(5)]
    for user in users:
        await service.client.post("/v1/admin/api-keys", json={"owner": user.id, "name": user.name})
    lines = (await manta("users", "list")).output.splitlines()
    assert [line.split()[0] for line in lines] == [*(user.id for user in users[::-1]), ADMIN_ID]
    keys = [line.split() for line in (await manta("keys", "list")).output.splitlines()]
    owners = [words[1] for words in keys]
    assert [owner for owner in owners if owner != ADMIN_ID] == [user.id for user in users[::-1]]
    assert len({words[0] for words in keys}) == len(keys) > 5, "the admin's are there too"


@pytest.mark.parametrize(
    ("command", "undone_by", "field", "value", "before"),
    [
        ("promote", "demote", "role", "admin", "user"),
        ("disable", "enable", "status", "disabled", "active"),
    ],
)
async def test_what_somebody_may_is_changed_and_changed_back(
    manta: Manta, service: Gateway, command: str, undone_by: str, field: str, value: str, before: str
):
    ada = await added(manta, "--name", "Ada", "--email", "ada@example.com")
    for act, expected in ((command, value), (undone_by, before)):
        result = await manta("users", act, "ada@example.com")
        assert (result.exit_code, f"Ada ({ada}) is" in result.output) == (0, True), result.output
        assert (await service.client.get(f"/v1/admin/users/{ada}")).json()[field] == expected


async def test_everything_that_lets_somebody_in_is_ended(manta: Manta, service: Gateway):
    user, pair = await signed_in(service, name="Ada")
    key = (await manta("keys", "create", "--user", user.id, "--name", "x")).stdout.strip()
    assert [await enters(service, each) for each in (key, pair.access_token)] == [True, True]
    result = await manta("users", "revoke", user.id, "--yes")
    assert (result.exit_code, "Ended: 1 sessions, 1 api keys." in result.output) == (0, True), result.output
    assert [await enters(service, each) for each in (key, pair.access_token)] == [False, False]


@pytest.mark.parametrize("command", ["delete", "revoke"])
@pytest.mark.parametrize(
    ("says", "words"), [("n\n", "Nothing was done."), ("", "Nobody answered, so nothing was done.")]
)
async def test_who_does_not_say_yes_changes_nothing(
    manta: Manta, service: Gateway, command: str, says: str, words: str
):
    user, pair = await signed_in(service)
    result = await manta("users", command, user.id, says=says)
    assert (result.exit_code, words in result.output) == (1, True), result.output
    assert await enters(service, pair.access_token)


async def test_somebody_is_deleted_when_one_says_so(manta: Manta, service: Gateway):
    user, pair = await signed_in(service, name="Ada")
    result = await manta("users", "delete", user.id, says="y\n")
    assert result.exit_code == 0, result.output
    assert f"Ada ({user.id}) is deleted. With them went: 1 sessions." in result.output
    assert not await enters(service, pair.access_token)
    again = await manta("users", "delete", user.id, "--yes")
    assert (again.exit_code, "error: There is no such user." in again.output) == (1, True)


async def test_an_address_of_several_names_nobody(manta: Manta, service: Gateway):
    twins = [await new_user(service.services, email="both@example.com") for _ in range(2)]
    for command in (("users", "delete", "both@example.com", "--yes"), ("users", "promote", "both@example.com")):
        result = await manta(*command)
        assert result.exit_code == 1
        assert all(twin.id in result.output for twin in twins), result.output
    assert len((await service.client.get("/v1/admin/users", params={"email": "both@example.com"})).json()["data"]) == 2
    nobody = await manta("users", "show", "nobody@example.com")
    assert (nobody.exit_code, "Nobody here has the e-mail address" in nobody.output) == (1, True)


async def test_a_key_has_what_was_asked_for_and_no_more(manta: Manta, service: Gateway):
    ada = await added(manta, "--name", "Ada")
    project = (await service.client.post("/v1/organization/projects", json={"name": "Search"})).json()["id"]
    result = await manta(
        *("keys", "create", "--user", ada, "--name", "Batch", "--permission", "write"),
        *("--model", CHAT, "--model", "org/embedder", "--expires-in", "30d", "--project", project),
    )
    assert result.exit_code == 0, result.output
    id_ = found(r"key_\w+", result.stderr)
    key = (await service.client.get(f"/v1/admin/api-keys/{id_}")).json()
    assert (key["permissions"], key["models"], key["project_id"], key["owner"]) == (
        ["write"],
        [CHAT, "org/embedder"],
        project,
        ada,
    )
    assert 29 * 86_400 < key["expires_at"] - key["created_at"] <= 30 * 86_400 + 60
    shown = (await manta("keys", "show", id_)).output
    for line in (rf"models +{CHAT}, org/embedder", "may +write", f"project +{project}", "last used +never"):
        assert re.search(f"^{line}$", shown, re.M), shown
    assert "sk-manta-" in shown, "enough to recognise it by"
    assert result.stdout.strip() not in shown


async def test_keys_are_listed_by_their_user_and_revoked(manta: Manta, service: Gateway):
    ada = await added(manta, "--name", "Ada", "--email", "ada@example.com")
    made = await manta("keys", "create", "--user", ada, "--name", "Notebook")
    id_ = found(r"key_\w+", made.stderr)
    assert await enters(service, made.stdout.strip())
    assert {ada, ADMIN_ID} <= set((await manta("keys", "list")).output.split())
    (line,) = (await manta("keys", "list", "--user", "ada@example.com")).output.splitlines()
    assert line.split()[:3] == [id_, ada, "read+write"]
    assert line.endswith("Notebook")
    assert f"{id_} is revoked." in (await manta("keys", "revoke", id_)).output
    assert not await enters(service, made.stdout.strip())
    assert (await manta("keys", "list", "--user", ada)).output == ""
    again = await manta("keys", "revoke", id_)
    assert (again.exit_code, "error: There is no such API key." in again.output) == (1, True)


async def test_what_the_service_refuses_is_told_in_its_words(manta: Manta, service: Gateway):
    for command, words in (
        (("keys", "create", "--user", ADMIN_ID, "--name", "bell\x07"), "must not hold control characters"),
        (("keys", "create", "--user", ADMIN_ID, "--name", "x", "--permission", "sudo"), "must be 'read'"),
        (("keys", "create", "--user", ADMIN_ID, "--name", "x", "--project", "proj_none"), "no such project"),
        (("users", "demote", ADMIN_ID), "cannot take your own power"),
        (("users", "show", "../api-keys"), "There is nothing at"),
    ):
        result = await manta(*command)
        assert result.exit_code == 1, result.output
        assert words in result.stderr, result.output
        assert result.stdout == ""


async def test_a_key_that_is_no_admins_is_told_so(manta: Manta, service: Gateway):
    plain = await service.new_key("read", "write")
    result = await manta("users", "list", key=plain)
    assert (result.exit_code, "Only an admin may do this" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("span", "expected"), [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_a_span_of_time_is_read(span: str, expected: int):
    assert seconds(span) == expected


@pytest.mark.parametrize("span", ["", "30", "d", "0d", "-1d", "1.5h", "30 d", "30y", "9" * 30 + "d", "٣d"])
def test_what_is_no_span_of_time_is_refused(span: str):
    with pytest.raises(CliError) as refusal:
        seconds(span)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("noun", ["users", "keys"])
def test_a_service_that_is_not_there_is_said_to_be_so(noun: str):
    result = CliRunner().invoke(build_cli(), [noun, "list", "--url", f"http://127.0.0.1:{free_port()}"])
    assert result.exit_code == 1
    assert "does not answer" in result.output
