"""What somebody said of a model at run time, as it is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model that was added, changed, removed, started or stopped through the API.

    Attributes:
        spec: The whole spec as JSON text (its keys may hold what a database's may not); None where the file's stands.
        removed: Whether the model is gone although a file names it.
        enabled: Whether it may run.
        file_digest: Which file the change was laid over, None for a model without one. Another file is a later wish
            than the record: its spec then stands.
        created: Unix seconds at which the model became known.
    """

    id: str
    spec: str | None = None
    removed: bool = False
    enabled: bool = True
    file_digest: str | None = None
    created: int = 0
