"""What the broker took and gave to nobody, or did not take: it is said again, later and later, until it is heard (DESIGN 5).

A PUBACK with "no matching subscribers" (0x10), "not authorized" (0x87) or "quota exceeded" (0x97) is not delivery. A summary is
sent again until it is acknowledged anyway; a birth or a report is not, and workers share a subscription, to which the broker
sends nothing that it retained: one that starts later would never hear it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from contract.topics import Channel

_FIRST_S, _LONGEST_S = 1.0, 60.0
# An answer that is lost is asked for again by the cloud; a burst of them must not be held for ever.
_MOST_RESULTS = 64


@dataclass(frozen=True, slots=True)
class Said:
    """A message that is not a summary; `times` it was said, and not heard."""

    channel: Channel
    payload: bytes
    retain: bool
    times: int = 0


class Unheard:
    """Of one connection. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._said: dict[int, Said] = {}
        self._waiting: deque[tuple[float, Said]] = deque()

    def clear(self) -> None:
        """Forget everything: a new connection says it all anew."""
        self._said.clear()
        self._waiting.clear()

    def said(self, mid: int, message: Said) -> None:
        """Note a message under its packet id. One that is retained takes the place of what waits on its channel."""
        if message.channel is Channel.SUMMARY:
            return
        if message.retain:
            self._waiting = deque(each for each in self._waiting if each[1].channel is not message.channel)
            # The broker may answer the one before later: it is old news then.
            self._said = {of: each for of, each in self._said.items() if each.channel is not message.channel}
        self._said[mid] = message

    def answered(self, mid: int, heard: bool, now_s: float) -> None:
        """Take the broker's answer; what was not heard waits 1 s, doubled each time, at most a minute."""
        message = self._said.pop(mid, None)
        if message is None or heard:
            return
        pause_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(message.times, 16))
        self._waiting.append((now_s + pause_s, replace(message, times=message.times + 1)))
        if len(self._waiting) > _MOST_RESULTS:
            oldest = next(each for each in self._waiting if not each[1].retain)
            self._waiting.remove(oldest)

    def due(self, now_s: float) -> Said | None:
        """Return one message to say again now, which no longer waits; None for none."""
        for each in self._waiting:
            if each[0] <= now_s:
                self._waiting.remove(each)
                return each[1]
        return None
