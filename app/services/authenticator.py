"""Who is calling: credentials in, Principal out.

A checked credential is an immutable snapshot kept for at most ``cache_s`` seconds; that is the bound on how long a
revoked one still works. A warm one costs no database call; callers that miss at once share one look-up. What we never
gave out is told by its seal or signature, without a look-up; what we gave out and does not count any more is remembered
for as long as what does, so that a flood of either leaves the database alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from app.domain.api_key import PREFIX, ApiKey
from app.domain.limits import carried
from app.domain.principal import EVERYTHING, USE, Principal
from app.domain.user import User
from app.errors import AuthenticationFailed, DatabaseUnavailable
from app.services.access_tokens import AccessTokens, Claims
from app.storage.api_keys import LAST_USED_EVERY_MS, OwnedKey
from app.storage.stores import Stores

CACHE_ENTRIES = 10_000
ASK_AGAIN_S = 5.0
"""How long nobody asks a database that was away a moment ago whether somebody may still come in."""

MAX_CREDENTIAL_CHARS = 8192
SHOW = "'Authorization: Bearer <key>' or 'X-API-Key: <key>'"


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up found out: who it is, or what they are told.

    Attributes:
        refusal: Message and code, where ``principal`` is None.
        expires_at: When the credential ends, in epoch seconds.
    """

    principal: Principal | None
    refusal: tuple[str, str] = ("", "")
    expires_at: float = float("inf")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was found out.

    Attributes:
        until: When it is looked up again.
        ends_at: When it counts no more, even if nobody can be asked.
    """

    known: Known
    until: float
    ends_at: float


WRONG_KEY = Known(None, ("This API key is not valid: mistyped, revoked, or expired. Check it.", "invalid_api_key"))
OVER = Known(None, ("This session is over. Sign in again.", "session_ended"))
EXPIRED = ("This access token has expired. Get a new one at POST /v1/auth/refresh.", "token_expired")


class Authenticator:
    """Checks what a request shows.

    Args:
        secret: Keys the digests of API keys.
        cache_s: How long a checked credential is trusted, in seconds.
        grace_s: How long besides while the database is away, where nobody can be revoked either, in seconds.
        anonymous_inference: Whether callers without credentials are let in, as anonymous.
        clock: Monotonic seconds.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        stores: Stores,
        tokens: AccessTokens,
        *,
        secret: bytes,
        cache_s: float,
        anonymous_inference: bool,
        grace_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = stores.keys
        self._users = stores.users
        self._sessions = stores.sessions
        self._tokens = tokens
        self._secret = secret
        self._cache_s = cache_s
        self._grace_s = grace_s
        self._anonymous_inference = anonymous_inference
        self._clock = clock
        self._snapshots: OrderedDict[bytes, _Snapshot] = OrderedDict()
        self._lookups: dict[bytes, asyncio.Task[Known]] = {}
        self._touches: set[asyncio.Task[None]] = set()

    def anonymous(self, address: str) -> Principal:
        """Who shows nothing, from this address.

        Raises:
            AuthenticationFailed: Credentials are needed here.
        """
        if self._anonymous_inference:
            return Principal.anonymous(address)
        raise AuthenticationFailed(f"No credentials. Send your API key as {SHOW}.", code="missing_credentials")

    async def principal(self, credential: str, *, fresh: bool = False) -> Principal:
        """Who shows this credential.

        Args:
            credential: A key or an access token.
            fresh: Let nobody in by what was read before this call: for acts that outlive the caller's own revocation.

        Raises:
            AuthenticationFailed: It is wrong, or counts no more.
            DatabaseUnavailable: It could not be checked: unknown is not wrong.
        """
        # By a digest, so that no credential lies around in memory.
        mark = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
        snapshot = self._snapshots.get(mark)
        trusted = snapshot is not None and self._clock() < snapshot.until
        if snapshot is not None and trusted and not (fresh and snapshot.known.principal):
            self._snapshots.move_to_end(mark)
            known = snapshot.known
        elif fresh:
            known = await self._read(mark, self._finder(credential))
        else:
            known = await self._look_up_or_trust(mark, credential)
        if known.principal is None:
            raise AuthenticationFailed(known.refusal[0], code=known.refusal[1])
        if time.time() >= known.expires_at:
            message, code = WRONG_KEY.refusal if known.principal.key_id else EXPIRED
            raise AuthenticationFailed(message, code=code)
        return known.principal

    async def recall(self, subject: str, key_id: str | None) -> Principal | None:
        """Who somebody is by now whom we let in before, by this key or in person: for work that outlives its request.

        Returns:
            None, if they would not be let in any more.

        Raises:
            DatabaseUnavailable: It could not be looked up.
        """
        user = await self._users.get(subject)
        if user is None or user.status != "active":
            return None
        if key_id is None:
            return _in_person(user, None)
        key = await self._keys.get(key_id, owner=subject)
        return key.principal(user) if key is not None and key.valid(time.time() * 1000) else None

    def forget(self, subject: str | None = None) -> None:
        """Trust nothing that was read before of one user, or of anybody: what is stored has changed in this process."""
        self._keep(lambda principal: subject is not None and principal.subject != subject)

    def forget_refused(self) -> None:
        """Look those up again who were refused: credentials came to be that may have been looked for in vain."""
        self._keep(lambda _: True)

    def _keep(self, holds: Callable[[Principal], bool]) -> None:
        # Whose a refused credential was is not known: it may count now, whatever changed.
        snapshots = self._snapshots.items()
        # What a look-up under way finds goes to the dict that it began with, and is shared with nobody new.
        self._snapshots = OrderedDict(
            (mark, found) for mark, found in snapshots if (who := found.known.principal) and holds(who)
        )
        self._lookups = {}

    async def close(self) -> None:
        """Wait for what is on its way to the database."""
        await asyncio.gather(*self._touches, return_exceptions=True)

    async def _look_up_or_trust(self, mark: bytes, credential: str) -> Known:
        """Look somebody up; while the database is away, what it said last counts for a grace."""
        try:
            return await self._look_up(mark, credential)
        except DatabaseUnavailable:
            # Whatever was forgotten meanwhile is not there any more.
            snapshot, now = self._snapshots.get(mark), self._clock()
            if snapshot is None or snapshot.known.principal is None or now >= snapshot.ends_at:
                raise
            self._snapshots[mark] = replace(snapshot, until=min(now + ASK_AGAIN_S, snapshot.ends_at))
            return snapshot.known

    async def _look_up(self, mark: bytes, credential: str) -> Known:
        lookups = self._lookups
        task = lookups.get(mark)
        if task is None:
            task = lookups[mark] = asyncio.create_task(self._read(mark, self._finder(credential)))
            # From the dict that it is in: what forgets takes another.
            task.add_done_callback(lambda _: lookups.pop(mark))
        # A caller that leaves must not take the look-up of the others with it.
        return await asyncio.shield(task)

    def _finder(self, credential: str) -> Callable[[], Awaitable[Known]]:
        """The look-up for a credential that may be ours.

        Raises:
            AuthenticationFailed: It was never given out by us.
        """
        if credential.count(".") == 2 and not credential.startswith(PREFIX):
            return partial(self._by_token, self._tokens.check(credential))
        key = ApiKey.parse(credential) if len(credential) <= MAX_CREDENTIAL_CHARS else None
        if key is None or not key.is_sealed(self._secret):
            raise AuthenticationFailed(WRONG_KEY.refusal[0], code=WRONG_KEY.refusal[1])
        return partial(self._by_key, key.digest(self._secret))

    async def _read(self, mark: bytes, find: Callable[[], Awaitable[Known]]) -> Known:
        # The trust runs from before the read: a revocation during it is seen no later than cache_s after it.
        snapshots, until = self._snapshots, self._clock() + self._cache_s
        known = await find()
        snapshots[mark] = _Snapshot(known, until, until + self._grace_s)
        snapshots.move_to_end(mark)
        if len(snapshots) > CACHE_ENTRIES:
            snapshots.popitem(last=False)
        return known

    async def _by_key(self, digest: str) -> Known:
        found = await self._keys.find(digest)
        now_ms = time.time() * 1000
        if found is None or found.owner.status != "active" or not found.key.valid(now_ms):
            return WRONG_KEY
        self._note_use(found, now_ms)
        expires_at_ms = found.key.expires_at_ms
        expires_at = float("inf") if expires_at_ms is None else expires_at_ms / 1000
        return Known(found.key.principal(found.owner), expires_at=expires_at)

    async def _by_token(self, claims: Claims) -> Known:
        session = await self._sessions.get(claims.session_id)
        if session is None or session.owner != claims.subject or not session.valid(time.time() * 1000):
            return OVER
        user = await self._users.get(claims.subject)
        if user is None or user.status != "active":
            return OVER
        principal = _in_person(user, session.id)
        return Known(principal, expires_at=claims.expires_at)

    def _note_use(self, found: OwnedKey, now_ms: float) -> None:
        """Have it written down that a key is used: nobody waits for that."""
        last = found.key.last_used_at_ms
        if last is None or now_ms - last >= LAST_USED_EVERY_MS:
            task = asyncio.create_task(self._touch(found.key.id))
            self._touches.add(task)
            task.add_done_callback(self._touches.discard)

    async def _touch(self, key_id: str) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await self._keys.touch(key_id)


def _in_person(user: User, session_id: str | None) -> Principal:
    return Principal(
        kind="guest" if user.is_guest else "user",
        subject=user.id,
        role=user.role,
        scopes=EVERYTHING if user.role == "admin" else USE,
        session_id=session_id,
        user_limits=carried(user.limits),
        plan=user.plan,
    )
