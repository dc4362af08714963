"""The time that a usage report is about, as callers may say it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from app.errors import InvalidRequest

DAY_S = 86_400
DEFAULT_DAYS = 30
MAX_DAYS = 366
MAX_SECOND = 10**11


@dataclass(frozen=True, slots=True)
class Period:
    """From one second, up to another one and not including it."""

    start_s: int
    end_s: int

    @property
    def first_day(self) -> str:
        """The day that it begins on, in UTC."""
        return day_of(self.start_s)

    @property
    def last_day(self) -> str:
        """The day that it ends on, in UTC."""
        return day_of(self.end_s - 1)


@dataclass(frozen=True, slots=True)
class SaidPeriod:
    """What the caller said of it: each end in seconds or as a day, or how many days.

    Attributes:
        start: Unix seconds; likewise ``end``, which is not included.
        start_date: A day in UTC, such as 2026-11-23; likewise ``end_date``, which is included.
        days: So many, the last one included.
    """

    start: int | None = None
    end: int | None = None
    start_date: str | None = None
    end_date: str | None = None
    days: int | None = None

    def period(self, now: float) -> Period:
        """The period meant. Where nothing is said it ends with today, and has thirty days.

        Raises:
            InvalidRequest: That is none; ``param`` names what is wrong.
        """
        for name, value, other in (
            ("start_date", self.start_date, self.start),
            ("end_date", self.end_date, self.end),
            ("days", self.days, self.start if self.start_date is None else self.start_date),
        ):
            if value is not None and other is not None:
                raise InvalidRequest(
                    f"`{name}` says again, and otherwise, where the period begins or ends.", param=name
                )
        end = self._end(now)
        start = self._start(end)
        begun = "start" if self.start_date is None else "start_date"
        if start >= end:
            raise InvalidRequest(f"`{begun}` must be before the period's end.", param=begun)
        if end - start > MAX_DAYS * DAY_S:
            raise InvalidRequest(f"A report covers at most {MAX_DAYS} days: ask for a part at a time.", param=begun)
        return Period(start, end)

    def _end(self, now: float) -> int:
        if self.end is not None:
            return self.end
        return (midnight(now) if self.end_date is None else _day("end_date", self.end_date)) + DAY_S

    def _start(self, end: int) -> int:
        if self.start is not None:
            return self.start
        if self.start_date is not None:
            return _day("start_date", self.start_date)
        return max(0, midnight(end - 1) - ((self.days or DEFAULT_DAYS) - 1) * DAY_S)


def midnight(second: float) -> int:
    """The beginning of a second's day, in UTC."""
    return int(second // DAY_S) * DAY_S


def day_of(second: int) -> str:
    """A second's day, in UTC."""
    return datetime.fromtimestamp(second, UTC).date().isoformat()


def _day(name: str, text: str) -> int:
    try:
        if re.fullmatch(r"(19[7-9][0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}", text):
            return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise InvalidRequest(f"`{name}` must be a day such as 2026-11-23.", param=name)
