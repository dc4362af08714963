"""Who is calling: credentials in, Principal out.

A checked key is an immutable snapshot kept for at most ``cache_s`` seconds; that is the bound on how long a revoked
key still works. A warm key costs no database call; callers that miss at once share one look-up; keys that do not exist
are remembered for as long, so that a flood of them costs one call each at the most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.domain.api_key import ApiKey
from app.domain.principal import Principal
from app.errors import AuthenticationFailed
from app.storage.credentials import Credentials, StoredKey

CACHE_ENTRIES = 10_000
MAX_CREDENTIAL_CHARS = 8192


@dataclass(frozen=True, slots=True)
class _Snapshot:
    key: StoredKey | None
    until: float


class Authenticator:
    """Checks what a request shows.

    Args:
        credentials: Where keys are stored.
        secret: Keys the digests.
        cache_s: How long a checked key is trusted, in seconds.
        anonymous_inference: Whether callers without credentials are let in, as anonymous.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        secret: bytes,
        cache_s: float,
        anonymous_inference: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._secret = secret
        self._cache_s = cache_s
        self._anonymous_inference = anonymous_inference
        self._clock = clock
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[StoredKey | None]] = {}

    async def principal(self, credential: str | None, address: str) -> Principal:
        """Who shows this credential (None: nobody did), from this address.

        Raises:
            AuthenticationFailed: The credential is wrong, or missing where one is needed.
            DatabaseUnavailable: It could not be checked: unknown is not wrong.
        """
        if credential is None:
            if self._anonymous_inference:
                return Principal.anonymous(address)
            raise AuthenticationFailed(
                "No credentials. Send your API key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.",
                code="missing_credentials",
            )
        key = ApiKey.parse(credential) if len(credential) <= MAX_CREDENTIAL_CHARS else None
        stored = await self._lookup(key.digest(self._secret)) if key else None
        if stored is None or not stored.valid(time.time() * 1000):
            raise AuthenticationFailed("This API key is not valid: mistyped, revoked, or expired. Check it.")
        return stored.principal

    def forget(self) -> None:
        """Trust nothing that was read before: keys came to be that may have been looked for in vain."""
        # What a look-up under way finds goes to the dict that it began with.
        self._snapshots = OrderedDict()

    async def _lookup(self, digest: str) -> StoredKey | None:
        snapshot = self._snapshots.get(digest)
        if snapshot is not None and self._clock() < snapshot.until:
            self._snapshots.move_to_end(digest)
            return snapshot.key
        task = self._lookups.get(digest)
        if task is None:
            task = self._lookups[digest] = asyncio.create_task(self._find(digest))
        # A caller that leaves must not take the look-up of the others with it.
        return await asyncio.shield(task)

    async def _find(self, digest: str) -> StoredKey | None:
        # The trust runs from before the read: a revocation during it is seen no later than cache_s after it.
        snapshots, until = self._snapshots, self._clock() + self._cache_s
        try:
            key = await self._credentials.find(digest)
        finally:
            del self._lookups[digest]
        snapshots[digest] = _Snapshot(key, until)
        snapshots.move_to_end(digest)
        if len(snapshots) > CACHE_ENTRIES:
            snapshots.popitem(last=False)
        return key
