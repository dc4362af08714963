from __future__ import annotations

import asyncio
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.api_key import ApiKey
from app.errors import AuthenticationFailed
from app.services import build_services
from app.services.bootstrap import ADMIN_ID, bootstrap, ensure_admin, with_secrets, write_secret
from app.services.catalog import Catalog, StaticCatalog
from app.services.inprocess import InProcessBackend
from app.settings import ROOT, Settings, SettingsError
from app.storage.database import Database
from app.storage.stores import Stores
from tests.support.mongo import MongoServer
from tests.support.ports import free_port

SECRET = b"a secret of the tests"


def key_in(folder: Path) -> ApiKey:
    key = ApiKey.parse((folder / "api-key").read_text().strip())
    assert key is not None
    return key


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def opens(stores: Stores, key: ApiKey, secret: bytes = SECRET) -> bool:
    stored = await stores.keys.find(key.digest(secret))
    return stored is not None and stored.key.valid(0)


async def test_the_first_start_makes_an_admin_and_a_key(stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    stored = await stores.keys.find(key_in(tmp_path).digest(SECRET))
    assert stored is not None
    assert (stored.owner.id, stored.owner.role) == (ADMIN_ID, "admin")
    assert stored.key.scopes == ("read", "write", "admin")
    assert stored.key.limits == "none"


async def test_only_its_owner_can_read_the_key(stores: Stores, tmp_path: Path):
    before = os.umask(0)
    try:
        await ensure_admin(stores, SECRET, tmp_path / "state")
    finally:
        os.umask(before)
    assert mode(tmp_path / "state" / "api-key") == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["api-key"], "no draft is left"


async def test_the_key_can_be_exported_by_a_shell(stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    assert (tmp_path / "api-key").read_text() == key_in(tmp_path).value + "\n"


async def test_the_key_is_not_stored_in_the_clear(database: Database, stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    document = await database.collection("api_keys").find_one({})
    assert document is not None
    assert key_in(tmp_path).value not in str(document)
    assert document["redacted_value"] == key_in(tmp_path).redacted


async def test_another_start_changes_nothing(database: Database, stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    before = await database.collection("api_keys").find({}).to_list(None), key_in(tmp_path)
    await ensure_admin(stores, SECRET, tmp_path)
    assert (await database.collection("api_keys").find({}).to_list(None), key_in(tmp_path)) == before
    assert await database.collection("users").count_documents({}) == 1


async def test_several_starts_at_once_make_one_key(database: Database, stores: Stores, tmp_path: Path):
    await asyncio.gather(*(ensure_admin(stores, SECRET, tmp_path) for _ in range(8)))
    assert await database.collection("api_keys").count_documents({}) == 1
    assert await database.collection("users").count_documents({}) == 1
    assert await opens(stores, key_in(tmp_path))


async def test_several_processes_that_start_at_once_agree_on_one_key(
    mongodb: MongoServer, database_name: str, stores: Stores, database: Database, tmp_path: Path
):
    code = f"""
import asyncio, pathlib
from app.services.bootstrap import ensure_admin
from app.storage.stores import Stores
from app.storage.database import Database

async def main():
    database = Database({mongodb.uri!r}, {database_name!r}, timeout_s=20, pool_size=2)
    await ensure_admin(Stores.of(database), {SECRET!r}, pathlib.Path({str(tmp_path)!r}))
    database.close()

asyncio.run(main())
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [await asyncio.to_thread(process.wait, 60) for process in processes] == [0, 0, 0]
    assert await database.collection("api_keys").count_documents({}) == 1
    assert await opens(stores, key_in(tmp_path))


async def test_a_key_that_another_process_wrote_meanwhile_is_taken(
    stores: Stores, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mint = ApiKey.mint
    theirs = mint(SECRET)

    def slow_mint(secret: bytes) -> ApiKey:
        write_secret(tmp_path / "api-key", theirs.value + "\n")
        return mint(secret)

    monkeypatch.setattr(ApiKey, "mint", slow_mint)
    await ensure_admin(stores, SECRET, tmp_path)
    assert key_in(tmp_path) == theirs
    assert [key["_id"] async for key in database.collection("api_keys").find({})] == [f"key_{theirs.id}"]


async def test_a_revoked_key_stays_revoked(database: Database, stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    await database.collection("api_keys").update_one({}, {"$set": {"status": "revoked"}})
    await ensure_admin(stores, SECRET, tmp_path)
    assert not await opens(stores, key_in(tmp_path))


async def test_a_key_that_was_narrowed_stays_narrow(stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    key_id = f"key_{key_in(tmp_path).id}"
    await stores.keys.change(key_id, {"scopes": ["read"], "limits": None})
    await ensure_admin(stores, SECRET, tmp_path)
    narrowed = await stores.keys.get(key_id)
    assert narrowed is not None
    assert (narrowed.scopes, narrowed.limits) == (("read",), None)


async def test_a_lost_file_gets_a_new_key(stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    lost = key_in(tmp_path)
    (tmp_path / "api-key").unlink()
    await ensure_admin(stores, SECRET, tmp_path)
    assert key_in(tmp_path) != lost
    assert await opens(stores, key_in(tmp_path))


@pytest.mark.parametrize("content", [b"", b"sk-manta-half", b"\xff\xfe\x00"])
async def test_a_broken_file_is_replaced(stores: Stores, tmp_path: Path, content: bytes):
    (tmp_path / "api-key").write_bytes(content)
    await ensure_admin(stores, SECRET, tmp_path)
    assert await opens(stores, key_in(tmp_path))
    assert mode(tmp_path / "api-key") == 0o600


async def test_after_the_loss_of_the_database_the_key_in_the_file_works_again(
    database: Database, stores: Stores, tmp_path: Path
):
    await ensure_admin(stores, SECRET, tmp_path)
    key = key_in(tmp_path)
    for name in ("users", "api_keys"):
        await database.collection(name).delete_many({})
    await ensure_admin(stores, SECRET, tmp_path)
    assert key_in(tmp_path) == key
    assert await opens(stores, key)


async def test_after_a_change_of_the_secret_the_file_has_a_key_that_works(stores: Stores, tmp_path: Path):
    await ensure_admin(stores, SECRET, tmp_path)
    void = key_in(tmp_path)
    await ensure_admin(stores, b"another secret", tmp_path)
    assert key_in(tmp_path) != void
    assert await opens(stores, key_in(tmp_path), b"another secret")
    assert not void.is_sealed(b"another secret")


async def test_the_start_waits_for_the_database_and_then_makes_the_key(tmp_path: Path, database_name: str):
    server = MongoServer(free_port(), tmp_path)
    settings = Settings.load(
        state_dir=tmp_path / "state",
        secret_key="s" * 32,
        mongodb_timeout_s=0.5,
        mongodb_database=database_name,
        principal_cache_s=10,
    )
    services = build_services(with_secrets(settings), server.uri, StaticCatalog(Catalog()), InProcessBackend({}))
    preparing = asyncio.create_task(bootstrap(services))
    try:
        await asyncio.sleep(1)
        assert not preparing.done()
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(preparing, 60)
        assert (await services.authenticator.principal(key_in(tmp_path / "state").value)).role == "admin"
    finally:
        preparing.cancel()
        await asyncio.gather(preparing, return_exceptions=True)
        await services.close()
        server.stop()


async def test_a_key_that_was_tried_before_it_was_stored_works_once_it_is(
    mongodb: MongoServer, database_name: str, tmp_path: Path
):
    key = ApiKey.mint(b"s" * 32)
    write_secret(tmp_path / "api-key", key.value)
    settings = Settings.load(
        state_dir=tmp_path, secret_key="s" * 32, mongodb_timeout_s=10, mongodb_database=database_name
    )
    services = build_services(with_secrets(settings), mongodb.uri, StaticCatalog(Catalog()), InProcessBackend({}))
    try:
        with pytest.raises(AuthenticationFailed):
            await services.authenticator.principal(key.value)
        await bootstrap(services)
        assert (await services.authenticator.principal(key.value)).role == "admin"
    finally:
        await services.close()


async def test_a_state_directory_that_cannot_be_written_is_told_in_the_log(
    mongodb: MongoServer, database_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("not a folder")
    settings = Settings.load(
        state_dir=tmp_path / "file", secret_key="s" * 32, mongodb_timeout_s=10, mongodb_database=database_name
    )
    services = build_services(with_secrets(settings), mongodb.uri, StaticCatalog(Catalog()), InProcessBackend({}))
    try:
        with caplog.at_level(logging.ERROR, "manta"):
            await bootstrap(services)
        assert str(tmp_path / "file") in caplog.text
    finally:
        await services.close()


def test_a_secret_is_made_once_and_kept(tmp_path: Path):
    first = with_secrets(Settings.load(state_dir=tmp_path)).secret()
    assert len(first) >= 32
    assert with_secrets(Settings.load(state_dir=tmp_path)).secret() == first
    assert mode(tmp_path / "secret-key") == 0o600


def test_a_secret_that_is_set_is_taken(tmp_path: Path):
    assert with_secrets(Settings.load(state_dir=tmp_path, secret_key="x" * 32)).secret() == b"x" * 32
    assert list(tmp_path.iterdir()) == []


def test_an_empty_secret_is_refused(tmp_path: Path):
    (tmp_path / "secret-key").write_text("\n")
    with pytest.raises(SettingsError, match="secret-key is empty"):
        with_secrets(Settings.load(state_dir=tmp_path))


def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=str(tmp_path / "file")):
        with_secrets(Settings.load(state_dir=tmp_path / "file"))


def test_of_two_secrets_written_at_once_the_first_stands(tmp_path: Path):
    write_secret(tmp_path / "s", "first")
    write_secret(tmp_path / "s", "second")
    assert (tmp_path / "s").read_text() == "first"
    write_secret(tmp_path / "s", "third", replace=True)
    assert (tmp_path / "s").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_keys_for_access_tokens_hang_on_the_secret_unless_they_are_set(tmp_path: Path):
    one = with_secrets(Settings.load(state_dir=tmp_path, secret_key="x" * 32)).token_keys()
    same = with_secrets(Settings.load(state_dir=tmp_path / "other", secret_key="x" * 32)).token_keys()
    other = with_secrets(Settings.load(state_dir=tmp_path, secret_key="y" * 32)).token_keys()
    assert one == same != other
    assert "x" * 32 not in one[0]
    set_ = Settings.load(state_dir=tmp_path, secret_key="x" * 32, jwt_keys=["k" * 40, "l" * 40])
    assert with_secrets(set_).token_keys() == ["k" * 40, "l" * 40]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_private_key_is_made_once_and_kept(tmp_path: Path, algorithm: str):
    settings = Settings.load(state_dir=tmp_path, jwt_algorithm=algorithm)
    (made,) = with_secrets(settings).token_keys()
    assert made.startswith("-----BEGIN PRIVATE KEY-----")
    assert with_secrets(settings).token_keys() == [made]
    assert mode(tmp_path / f"jwt-{algorithm.lower()}.pem") == 0o600


def test_a_key_can_be_named_by_its_file(tmp_path: Path):
    (tmp_path / "key").write_text("k" * 40 + "\n")
    named = Settings.load(state_dir=tmp_path, jwt_keys=[f"file:{tmp_path}/key"])
    assert with_secrets(named).token_keys() == ["k" * 40]
    with pytest.raises(SettingsError, match="MANTA_JWT_KEYS"):
        with_secrets(Settings.load(state_dir=tmp_path, jwt_keys=[f"file:{tmp_path}/none"]))
