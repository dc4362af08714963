"""The first start: an admin user, and a key to it in ``<state_dir>/api-key``.

Safe to run any number of times and in several processes at once: the file decides, and what it holds is stored once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import SecretStr

from app.domain.api_key import ApiKey
from app.domain.key_record import KeyRecord
from app.domain.secrets import derived
from app.domain.user import ADMIN_ID
from app.errors import DatabaseUnavailable
from app.settings import Settings, SettingsError
from app.storage.stores import Stores
from app.storage.users import now_ms

if TYPE_CHECKING:
    from app.services import Services

logger = logging.getLogger("manta")

RETRY_S = 0.5


async def bootstrap(services: Services) -> None:
    """Prepare the database and the admin's key, trying until the database answers."""
    waiting = False
    while True:
        try:
            await services.stores.prepare()
            await ensure_admin(services.stores, services.settings.secret(), services.settings.state_dir)
            # Somebody quick may have shown the new key before it was stored.
            services.authenticator.forget_refused()
            return
        except DatabaseUnavailable:
            if not waiting:
                logger.warning("the database does not answer yet; trying on")
            waiting = True
            await asyncio.sleep(RETRY_S)
        except Exception:
            # Nobody awaits this task before the end: what is not said here is never said.
            logger.exception("could not prepare the first API key in %s", services.settings.state_dir)
            return


async def ensure_admin(stores: Stores, secret: bytes, state_dir: Path) -> None:
    """Make sure that the key in the file opens the admin's door.

    Raises:
        DatabaseUnavailable: The database did not answer.
    """
    await stores.users.ensure(ADMIN_ID, name="Admin", role="admin")
    key = _key_in(state_dir / "api-key", secret)
    record = KeyRecord(
        id=f"key_{key.id}",
        owner=ADMIN_ID,
        name="First key",
        redacted_value=key.redacted,
        scopes=("read", "write", "admin"),
        created_at_ms=now_ms(),
        limits="none",
    )
    await stores.keys.ensure(record, key.digest(secret))


def with_secrets(settings: Settings) -> Settings:
    """The settings with ``secret_key`` and ``jwt_keys`` filled in, made in ``<state_dir>`` where they are not set.

    Done once, before the settings are handed to the processes of the service: all of them share what is found here.

    Raises:
        SettingsError: The state directory cannot be written, or a file that a setting names cannot be read.
    """
    if settings.secret_key is None:
        secret = _kept(settings.state_dir, "secret-key", lambda: secrets.token_urlsafe(32), "every API key is void")
        settings = settings.model_copy(update={"secret_key": SecretStr(secret)})
    if settings.jwt_keys is not None:
        keys = [_read(key.get_secret_value()) for key in settings.jwt_keys]
    elif settings.jwt_algorithm.startswith("HS"):
        keys = [derived(settings.secret(), "access tokens").hex()]
    else:
        name = f"jwt-{settings.jwt_algorithm.lower()}.pem"
        keys = [
            _kept(settings.state_dir, name, lambda: _private_key(settings.jwt_algorithm), "everybody is signed out")
        ]
    return settings.model_copy(update={"jwt_keys": [SecretStr(key) for key in keys]})


def _kept(state_dir: Path, name: str, make: Callable[[], str], loss: str) -> str:
    """What a file of the state directory holds, made there by the first who asks."""
    path = state_dir / name
    try:
        if not path.exists():
            write_secret(path, make() + "\n")
        text = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"The state directory {state_dir} cannot be used: {error.strerror}.") from None
    if not text:
        raise SettingsError(f"{path} is empty. Bring back what it held; or delete it, and {loss}.")
    return text


def _read(key: str) -> str:
    if not key.startswith("file:"):
        return key
    try:
        return Path(key.removeprefix("file:")).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"MANTA_JWT_KEYS: {key.removeprefix('file:')} cannot be read.") from None


def _private_key(algorithm: str) -> str:
    made = {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
        "RS256": lambda: rsa.generate_private_key(65537, 3072),
    }[algorithm]()
    encoded = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode().strip()


def _key_in(path: Path, secret: bytes) -> ApiKey:
    # Asked once: a file that appears after this is another process's, and good.
    broken = path.exists()
    if broken and (key := _usable(path, secret)):
        return key
    key = ApiKey.mint(secret)
    write_secret(path, key.value + "\n", replace=broken)
    return _usable(path, secret) or key


def _usable(path: Path, secret: bytes) -> ApiKey | None:
    """The key in the file, unless it was made under another secret, as every key is void then."""
    key = ApiKey.parse(path.read_text(errors="replace").strip())
    return key if key and key.is_sealed(secret) else None


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Unless ``replace``, a file that another process wrote meanwhile is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
