"""Files of records: each with its length and checksum before it, so that a torn end is told from a whole record."""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from app.domain.usage import UsageDraft, UsageEvent

logger = logging.getLogger("manta.usage")

T = TypeVar("T")

_HEAD: Final = struct.Struct("<II")
_ENCODER: Final = msgspec.msgpack.Encoder()


class Segment:
    """A file that is being added to.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.records = 0
        self._file: int = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, record: UsageEvent | UsageDraft) -> int:
        """Add a record, wholly or not at all; its length.

        Raises:
            OSError: It is not in the file.
        """
        data = _ENCODER.encode(record)
        data = _HEAD.pack(len(data), zlib.crc32(data)) + data
        written = os.write(self._file, data)
        if written != len(data):
            # The disk is full. What comes after half a record could not be read.
            os.ftruncate(self._file, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.size += written
        self.records += 1
        return written

    def close(self) -> None:
        """Add no more."""
        os.close(self._file)


def read_events(path: Path) -> Iterator[UsageEvent]:
    """The whole events of a file, up to its torn end if it has one."""
    return _decoded(path, msgspec.msgpack.Decoder(UsageEvent))


def read_drafts(path: Path) -> Iterator[UsageDraft]:
    """The whole drafts of a file, up to its torn end if it has one."""
    return _decoded(path, msgspec.msgpack.Decoder(UsageDraft))


def count(path: Path) -> int:
    """How many whole records a file has."""
    return sum(1 for _ in _records(path))


def _decoded(path: Path, decoder: msgspec.msgpack.Decoder[T]) -> Iterator[T]:
    for record in _records(path):
        try:
            yield decoder.decode(record)
        except msgspec.MsgspecError:
            # Of another version, which nobody is helped by waiting for.
            logger.exception("A record of usage cannot be read, and is left out: %s", path)


def _records(path: Path) -> Iterator[memoryview]:
    data = memoryview(path.read_bytes())
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        record = data[at : at + length]
        # A file system that lost its power may leave zeros, whose checksum would be right.
        if not length or len(record) != length or zlib.crc32(record) != checksum:
            return
        at += length
        yield record
