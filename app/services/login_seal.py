"""Sign-ins under way, kept by the browsers that began them: no replica has to remember any.

Encrypted and authenticated (Fernet) under a key of the installation: every replica can open what any of them sealed,
and nobody else can read or make one.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import asdict

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from app.domain.login import Login, LoginRefused

MAX_CHARS = 4096


class LoginSeal:
    """Closes and opens.

    Args:
        key: 32 bytes, for this purpose alone.
    """

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, login: Login) -> str:
        """What the browser keeps."""
        return self._fernet.encrypt(msgspec.json.encode(asdict(login))).decode()

    def open(self, sealed: str | None, state: str | None, now: float) -> Login:
        """The sign-in that an answer with this state belongs to.

        Args:
            sealed: What the browser kept for it, if it kept anything.
            now: Epoch seconds.

        Raises:
            LoginRefused: There is none such, or it took too long.
        """
        if state is None:
            raise LoginRefused("the answer has no state of ours")
        if not sealed:
            raise LoginRefused("this browser did not begin the sign-in, or it was kept too long")
        try:
            content = self._fernet.decrypt(sealed[:MAX_CHARS].encode())
            login = msgspec.json.decode(content, type=Login)
        except (InvalidToken, msgspec.MsgspecError):
            raise LoginRefused("what the browser kept of the sign-in was not sealed by us") from None
        if not hmac.compare_digest(login.state, state):
            raise LoginRefused("the state is another sign-in's")
        if now >= login.expires_at:
            raise LoginRefused("the sign-in took too long")
        return login
