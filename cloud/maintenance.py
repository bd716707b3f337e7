"""When stations may be ordered: maintenance windows as people write them, "mon-fri 22:00-05:00 Europe/Berlin"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contract.errors import InvalidConfig

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIMES = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")
_DAY_MIN = 24 * 60
_HINT = 'write it like "mon-fri 22:00-05:00 Europe/Berlin": days (none: every day), from-to, time zone (none: UTC)'


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """Wall-clock time from `start` to `stop` (minutes of the day, `stop` not included) on some days of the week (0: Monday).

    Where `stop` is not after `start` it goes over midnight, and belongs to the day on which it begins. Clocks put back show
    an hour twice, and both are inside; an hour that they leave out is never there.
    """

    days: frozenset[int]
    start: int
    stop: int
    zone: str
    text: str

    def is_open(self, at: float) -> bool:
        """Return whether it is open at `at`, Unix seconds."""
        local = datetime.fromtimestamp(at, _zone(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.stop:
            return day in self.days and self.start <= minute < self.stop
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.stop)

    def opens_at(self, at: float) -> float:
        """Return when it opens next, Unix seconds: `at` itself where it is open."""
        if self.is_open(at):
            return at
        today = datetime.fromtimestamp(at, _zone(self.zone)).date()
        starts = (self._start_on(today + timedelta(days=ahead)) for ahead in range(9))
        return min(start for start in starts if start is not None and start > at)

    def _start_on(self, day: date) -> float | None:
        if day.weekday() not in self.days:
            return None
        start = datetime.combine(day, time(self.start // 60, self.start % 60), tzinfo=_zone(self.zone))
        # A time that clocks leave out is when they jump over it.
        return start.astimezone(timezone.utc).timestamp()


def read_window(text: str) -> MaintenanceWindow:
    """Return the window that `text` means.

    Raises:
        InvalidConfig: it means none; the message says which part.
    """
    words = text.split()
    days = words.pop(0).lower() if words and not words[0][:1].isdigit() else ""
    if not words:
        raise InvalidConfig(f"maintenance window '{text}' has no time of day", hint=_HINT)
    found = _TIMES.fullmatch(words.pop(0))
    if found is None:
        raise InvalidConfig(f"maintenance window '{text}' has no time like 22:00-05:00", hint=_HINT)
    start, stop = (_minute(found[n], found[n + 1], text) for n in (1, 3))
    if start in (_DAY_MIN, stop):
        raise InvalidConfig(f"maintenance window '{text}' is never open", hint="use 00:00-24:00 for a whole day")
    zone = words.pop(0) if words else "UTC"
    if words:
        raise InvalidConfig(f"maintenance window '{text}' goes on after its time zone: '{words[0]}'", hint=_HINT)
    try:
        _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = "use a name of the IANA time zones, such as Europe/Berlin"
        raise InvalidConfig(f"maintenance window '{text}': there is no time zone '{zone}'", hint=hint) from error
    return MaintenanceWindow(_days(days, text), start, stop, zone, text)


def why_closed(windows: Sequence[str], at: float) -> str:
    """Return why stations may not be ordered now, "" where they may: one of `windows` is open, or there is none.

    Raises:
        InvalidConfig: one of them is none.
    """
    known = [read_window(text) for text in windows]
    if not known or any(window.is_open(at) for window in known):
        return ""
    first = min(known, key=lambda window: window.opens_at(at))
    opens = datetime.fromtimestamp(first.opens_at(at), _zone(first.zone))
    return f"outside of its maintenance windows; '{first.text}' opens {opens:%a %Y-%m-%d %H:%M} ({first.zone})"


def _minute(hours: str, minutes: str, text: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > _DAY_MIN:
        raise InvalidConfig(f"maintenance window '{text}': there is no time {hours}:{minutes}", hint=_HINT)
    return minute


def _days(text: str, window: str) -> frozenset[int]:
    if not text:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in _DAYS or last not in _DAYS:
            hint = f"days are {', '.join(_DAYS)}, as in 'mon-fri' or 'sat,sun'"
            raise InvalidConfig(f"maintenance window '{window}': there is no day '{part}'", hint=hint)
        begin, end = _DAYS.index(first), _DAYS.index(last)
        days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(days)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
