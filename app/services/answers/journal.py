"""The answers that this process is giving and has to keep: each in a file, from its first byte until it is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from app.errors import DatabaseUnavailable, ServiceUnavailable
from app.services.answers.aside import Aside
from app.services.answers.keeper import Keeper
from app.services.answers.keeping import Keeping
from app.services.answers.record import Record, read_back
from app.services.periodic import Periodic
from app.services.usage.folder import SpoolFolder
from app.settings import SettingsError

logger = logging.getLogger("manta")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
COMPLAIN_EVERY_S = 60.0
RETRY_AFTER_S = 30.0


class Journal:
    """Where answers are written, from the event loop's thread alone.

    Args:
        root: The folder that the processes of a node have theirs in.
        keeper: Keeps what is over.
        most_mb: How much may wait on disk, in MiB, before nothing is taken on that has to be kept. What no database
            takes may be as much again.
        adopt_every_s: How often is looked for what dead processes left, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        root: Path,
        keeper: Keeper,
        *,
        most_mb: int = 1024,
        adopt_every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keeper = keeper
        self._root = root
        self._most = most_mb * 1024 * 1024
        self._aside = Aside(root, self._most)
        self._adoptions = Periodic(
            self._adopt_all, name="keeping answers that dead processes gave", every_s=adopt_every_s, at_once=True
        )
        self._clock = clock
        self._folder: SpoolFolder | None = None
        self._made = 0
        self._under_way: set[Record] = set()
        self._ending: set[Record] = set()
        self._left: deque[Record] = deque()
        self._bytes_left = 0
        self._something_left = asyncio.Event()
        self._nothing_left = asyncio.Event()
        self._complain_at = 0.0
        self._away = False
        self._closing = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """How many answers of this process are over and not kept yet."""
        return len(self._left)

    def check_room(self) -> None:
        """Return if an answer can be taken on that has to be kept.

        Raises:
            ServiceUnavailable: Too much waits for the database already.
        """
        if self._bytes_left >= self._most or self._folder is None:
            raise ServiceUnavailable("Answers cannot be kept at the moment.", retry_after_s=RETRY_AFTER_S)

    def open(self, keeping: Keeping) -> Record:
        """A record of an answer that begins. Whoever has it ends it, leaves it or has it forgotten."""
        self._made += 1
        folder = self._root if self._folder is None else self._folder.path
        record = Record(folder / f"{self._made:08d}.answers", keeping, self, self._complain)
        self._under_way.add(record)
        return record

    async def start(self) -> None:
        """Make the folder, and adopt what dead processes left.

        Raises:
            SettingsError: The folder cannot be made.
        """
        if self._folder is not None:
            return
        try:
            self._folder = SpoolFolder.make(self._root)
        except OSError as error:
            raise SettingsError(f"Answers cannot be written to {self._root}: {error.strerror}.") from None
        self._closing = False
        self._keeping = asyncio.create_task(self._keep_left(), name="answers left")
        self._adoptions.start()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Keep what there is, for so many seconds at the most; what is left is on disk for whoever comes next."""
        for record in list(self._under_way):
            record.leave()
        self._closing = True
        keeping, self._keeping = self._keeping, None
        if self._left and keeping is not None and not self._away:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nothing_left.wait(), timeout_s)
        await self._adoptions.close()
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        folder, self._folder = self._folder, None
        if folder is not None:
            (folder.close if self._left or self._ending else folder.remove)()

    async def end(self, record: Record) -> None:
        """See ``Record.end``."""
        self._under_way.discard(record)
        self._ending.add(record)
        try:
            await self._keep(record)
        except DatabaseUnavailable:
            self._is_away()
            self._wait_for_database(record)
        except Exception:
            logger.exception("An answer could not be kept; it will be tried once more")
            self._wait_for_database(record)
        except BaseException:
            # Whoever waited for it was cancelled.
            self._wait_for_database(record)
            raise
        finally:
            self._ending.discard(record)

    def leave(self, record: Record) -> None:
        """See ``Record.leave``."""
        self._under_way.discard(record)
        self._wait_for_database(record)

    def forget(self, record: Record) -> None:
        """See ``Record.forget``."""
        self._under_way.discard(record)
        record.delete()

    async def _keep(self, record: Record) -> None:
        await self.keeper.keep(record.keeping, record.read())
        record.delete()

    def _wait_for_database(self, record: Record) -> None:
        self._left.append(record)
        self._bytes_left += record.size
        self._something_left.set()
        self._nothing_left.clear()

    async def _keep_left(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            await self._something_left.wait()
            record = self._left[0]
            try:
                await self._keep(record)
            except DatabaseUnavailable:
                self._is_away()
                if self._closing:
                    self._nothing_left.set()
                # If it is this one's fault, the others are not kept back.
                self._left.rotate(-1)
                # Not all processes at once.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                continue
            except Exception:
                # One that cannot be kept must not keep the others back.
                record.save()
                self._aside.put(record.path, record.keeping.owner)
            else:
                self._is_back()
            wait_s = FIRST_WAIT_S
            self._left.popleft()
            self._bytes_left -= record.size
            if not self._left:
                self._something_left.clear()
                self._nothing_left.set()

    async def _adopt_all(self) -> None:
        for folder in SpoolFolder.adopt(self._root):
            await self._adopt(folder)

    async def _adopt(self, folder: SpoolFolder) -> None:
        try:
            files = folder.files("answers")
            if files:
                logger.info("%d answers that a dead process left are taken over: %s", len(files), folder.path)
            for path in files:
                await self._adopt_file(path)
        except DatabaseUnavailable:
            self._is_away()
            folder.close()
        except BaseException:
            folder.close()
            raise
        else:
            folder.remove()

    async def _adopt_file(self, path: Path) -> None:
        try:
            found = read_back(path)
            if found is not None:
                await self.keeper.keep(*found)
        except DatabaseUnavailable:
            raise
        except Exception:
            self._aside.put(path, "somebody")
        else:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _is_away(self) -> None:
        if not self._away:
            self._away = True
            logger.warning("The database does not take answers; they are kept on disk until it does")

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            logger.info("The database takes answers again")

    def _complain(self, error: OSError) -> None:
        now = self._clock()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY_S
            logger.error("Answers cannot be written to disk, and are kept in memory: %s", error)
