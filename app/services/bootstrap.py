"""The first start: an admin user, and a key to it in ``<state_dir>/api-key``.

Safe to run any number of times and in several processes at once: the file decides, and what it holds is stored once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app.domain.api_key import ApiKey
from app.errors import DatabaseUnavailable
from app.settings import Settings, SettingsError
from app.storage.credentials import Credentials

if TYPE_CHECKING:
    from app.services import Services

logger = logging.getLogger("manta")

ADMIN_ID = "user_admin"
RETRY_S = 0.5


async def bootstrap(services: Services) -> None:
    """Prepare the database and the admin's key, trying until the database answers."""
    waiting = False
    while True:
        try:
            await services.credentials.prepare()
            await ensure_admin(services.credentials, services.settings.secret(), services.settings.state_dir)
            # Somebody quick may have shown the new key before it was stored.
            services.authenticator.forget()
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


async def ensure_admin(credentials: Credentials, secret: bytes, state_dir: Path) -> None:
    """Make sure that the key in the file opens the admin's door.

    Raises:
        DatabaseUnavailable: The database did not answer.
    """
    await credentials.ensure_user(ADMIN_ID, name="Admin", role="admin")
    key = _key_in(state_dir / "api-key")
    await credentials.ensure_key(key, key.digest(secret), owner=ADMIN_ID, name="First key", scopes=["read", "write"])


def with_secret(settings: Settings) -> Settings:
    """The settings with their ``secret_key`` filled in, from ``<state_dir>/secret-key`` or made there.

    Raises:
        SettingsError: The state directory cannot be written.
    """
    if settings.secret_key is not None:
        return settings
    path = settings.state_dir / "secret-key"
    try:
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32) + "\n")
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"The state directory {settings.state_dir} cannot be used: {error.strerror}.") from None
    if not secret:
        raise SettingsError(f"{path} is empty. Bring back what it held; or delete it, and every API key is void.")
    return settings.model_copy(update={"secret_key": SecretStr(secret)})


def _key_in(path: Path) -> ApiKey:
    # Asked once: a file that appears after this is another process's, and good.
    broken = path.exists()
    if broken and (key := ApiKey.parse(path.read_text(errors="replace").strip())):
        return key
    key = ApiKey.mint()
    write_secret(path, key.value + "\n", replace=broken)
    return ApiKey.parse(path.read_text(errors="replace").strip()) or key


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
