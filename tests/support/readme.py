"""The README's snippets, so that tests can run what users paste."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block.

    Attributes:
        section: The heading that it stands under.
        language: What it is fenced as.
    """

    section: str
    language: str
    text: str


def snippets() -> list[Snippet]:
    """Every fenced block of the README, in order."""
    found: list[Snippet] = []
    for part in re.split(r"^## ", README.read_text(), flags=re.MULTILINE):
        section = part.partition("\n")[0]
        found += [Snippet(section, language, text) for language, text in _FENCE.findall(part)]
    return found


def snippet(section: str, language: str, containing: str = "") -> str:
    """The text of the one block in ``section`` that is ``language`` and holds ``containing``."""
    (found,) = [
        item.text
        for item in snippets()
        if (item.section, item.language) == (section, language) and containing in item.text
    ]
    return found


def section(name: str) -> str:
    """All that stands under a heading."""
    parts = re.split(r"^## ", README.read_text(), flags=re.MULTILINE)
    return next(part for part in parts if part.partition("\n")[0] == name)
