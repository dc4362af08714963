"""What this process has yet to tell the database about usage, on its disk.

Drafts of requests under way and events of those that are over, in files that are only ever added to. One ``write`` a
record: what was written outlives the process, however it ends; a machine that loses its power may lose the last
seconds.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.usage import UsageDraft, UsageEvent
from app.services.usage.folder import SpoolFolder
from app.services.usage.records import Segment

SEGMENT_BYTES: Final = 1024 * 1024
"""How long a file of events gets: what is read back at once."""

DRAFT_BYTES: Final = 256 * 1024
DRAFT_FILES: Final = 8
"""How many files of drafts are kept for the few in them that are still under way, before those are written anew."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file of events that nothing is added to any more."""

    path: Path
    size: int
    records: int


@dataclass(slots=True, eq=False)
class _Drafts:
    """A file of drafts; it is deleted when none in it or before it is under way."""

    segment: Segment
    under_way: int = 0


class Spool:
    """The files of one living process.

    Raises:
        OSError: They cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.bytes = 0
        self.sealed: deque[Sealed] = deque()
        self._folder = SpoolFolder.make(root)
        self._made = 0
        self._open: dict[str, tuple[UsageDraft, _Drafts]] = {}
        self._drafts: deque[_Drafts] = deque()
        self._events: Segment | None = None
        try:
            self._drafts.append(_Drafts(self._segment("drafts")))
        except OSError:
            self._folder.remove()
            raise

    @property
    def unsealed(self) -> int:
        """How many events are in the file that is being added to."""
        return self._events.records if self._events else 0

    def append_draft(self, draft: UsageDraft) -> None:
        """Write down what is about to be worked on.

        Raises:
            OSError: It could not be written.
        """
        if self._drafts[-1].segment.size >= DRAFT_BYTES:
            self._next_drafts()
        self._append_draft(draft)

    def append_event(self, event: UsageEvent) -> None:
        """Write down what is over; its draft, if there is one, is of no more use.

        Raises:
            OSError: It could not be written.
        """
        if self._events is None:
            self._events = self._segment("events")
        self.bytes += self._events.append(event)
        self.settle(event.request_id)
        if self._events.size >= SEGMENT_BYTES:
            self.seal()

    def settle(self, request_id: str) -> None:
        """Keep a draft no longer: its event is written."""
        opened = self._open.pop(request_id, None)
        if opened is None:
            return
        _, drafts = opened
        drafts.under_way -= 1
        self._delete_settled()

    def seal(self) -> None:
        """Add no more to the file of events, if there is one."""
        if self._events is not None:
            self._events.close()
            self.sealed.append(Sealed(self._events.path, self._events.size, self._events.records))
            self._events = None

    def delete_first(self) -> None:
        """Delete the oldest sealed file: the database has all of it."""
        first = self.sealed.popleft()
        self._delete(first.path, first.size)

    def close(self) -> None:
        """Leave what there is to whoever adopts it; nothing, if there is nothing."""
        self.seal()
        self._drafts[-1].segment.close()
        if self.sealed or self._open:
            self._folder.close()
        else:
            self._folder.remove()

    def _next_drafts(self) -> None:
        made = _Drafts(self._segment("drafts"))
        self._drafts[-1].segment.close()
        self._drafts.append(made)
        self._delete_settled()
        if len(self._drafts) > DRAFT_FILES:
            oldest = self._drafts[0]
            for draft in [draft for draft, drafts in self._open.values() if drafts is oldest]:
                # The last of them has the old file deleted.
                self._append_draft(draft)

    def _delete_settled(self) -> None:
        # In their order: what took a draft back must not go before the draft.
        while len(self._drafts) > 1 and not self._drafts[0].under_way:
            first = self._drafts.popleft()
            self._delete(first.segment.path, first.segment.size)

    def _append_draft(self, draft: UsageDraft) -> None:
        drafts = self._drafts[-1]
        self.bytes += drafts.segment.append(draft)
        self.settle(draft.request_id)
        drafts.under_way += 1
        self._open[draft.request_id] = (draft, drafts)

    def _segment(self, kind: str) -> Segment:
        self._made += 1
        return Segment(self._folder.path / f"{self._made:08d}.{kind}")

    def _delete(self, path: Path, size: int) -> None:
        self.bytes -= size
        # One that cannot be deleted is told to the database again by whoever adopts it, to no effect.
        with contextlib.suppress(OSError):
            path.unlink()
