"""One sample of a document that defines what Manta is, and what has to be filled in before it can run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["bash", "python", "javascript", "body", "url", "sign-in", "headers"]
Json = Any

TOKEN_BLANKS = ('"Authorization: Bearer <token>"', '"Authorization: Bearer "')


Credential = Literal["api key", "access token", "refresh token"]


@dataclass(frozen=True)
class Sample:
    """A sample as its document shows it.

    Attributes:
        document: The short name of the document that it comes from.
        title: The heading that it stands under.
        kind: What it is: ``bash`` and the languages are run as they stand, a ``body`` is sent to ``path``, a
            ``sign-in`` goes to a service that has a provider, ``headers`` are those of a first answer at ``path``.
        text: The sample, verbatim.
        shows: What the document says of the answer: its example, parsed; each key must be in the answer, with a value
            of the same type. In a stream this holds for each chunk.
        streams: Whether the answer comes as server-sent events.
        status: The status that it must be answered with.
        path: For a ``body``: where it is sent; for ``headers``: what is asked for.
        says: Members (``choices[0].finish_reason`` is no path here: top level alone) that the answer must have exactly.
        model: The model that the answer must name: the one that the sample asked for.
        credential: What has to stand for its token; None: an API key, or nothing in development.
    """

    document: str
    title: str
    kind: Kind
    text: str
    shows: Json = None
    streams: bool = False
    status: int = 200
    path: str = ""
    says: dict[str, Json] = field(default_factory=dict[str, Json])
    model: str = ""
    credential: Credential | None = None

    @property
    def id(self) -> str:
        """The name of its test."""
        return f"{self.document} {self.title} ({self.kind})"

    @property
    def has_blank(self) -> bool:
        """Whether its token is an empty place, so that it can also be sent as it stands."""
        return TOKEN_BLANKS[1] in self.text

    def filled(self, url: str, key: str) -> str:
        """The sample with this service's address and key; nothing else is changed."""
        text = self.text
        for blank in TOKEN_BLANKS:
            text = text.replace(blank, f'"Authorization: Bearer {key}"')
        return self.addressed(url, text).replace("your-jwt-token", key)

    def addressed(self, url: str, text: str | None = None) -> str:
        """The sample with this service's address, its token left as it is."""
        return re.sub(r"http://localhost:(8080|1337)", url, text if text is not None else self.text)


@dataclass(frozen=True)
class Later:
    """A sample of something that Manta does not have yet.

    Attributes:
        area: What will bring it.
    """

    document: str
    title: str
    text: str
    area: Literal["mcp"]
