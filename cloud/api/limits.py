"""How much one person or address may ask, in memory that is fixed from the start: addresses are whatever a stranger chooses."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import HTTPException

from cloud.api.at_once import MOST_AT_ONCE, AtOnce
from cloud.store.access import fingerprint

_PERIOD_S = 60.0
_SLOTS = 16_384
_MOST_GOOD = 1024


class RateLimit:
    """Lets `at_once` things through (None: `per_minute`) and, after that, `per_minute`; one number is kept of each of 16,384 slots.

    Keys fall into slots by a hash that nobody outside can foretell, so two of them may share one: an address then shares what it
    may ask with another. Not thread-safe.
    Source: the generic cell rate algorithm, ITU-T I.371 (2004), Annex A, in its virtual scheduling form.
    """

    def __init__(self, per_minute: int, *, salt: bytes, at_once: int | None = None) -> None:
        self._step_s, self._salt = _PERIOD_S / per_minute, salt
        self._ahead_s = self._step_s * (per_minute if at_once is None else at_once)
        self._free_at = array("d", bytes(8 * _SLOTS))

    def wait_s(self, key: str, now: float, count: int = 1) -> float:
        """Return in how many seconds `count` more are let through, 0 for at once. Counts nothing."""
        return max(0.0, self._free_at[self._slot(key)] - (self._ahead_s - count * self._step_s) - now)

    def take(self, key: str, now: float, count: int = 1) -> float:
        """Count `count`, at most `at_once`, and return 0; where it is too many, return in how many seconds to come again, and
        count nothing."""
        wait_s = self.wait_s(key, now, count)
        # A rounding error of a clock that counts seconds since 1970 is no reason to refuse.
        if wait_s > 1e-6:
            return wait_s
        slot = self._slot(key)
        self._free_at[slot] = max(self._free_at[slot], now) + count * self._step_s
        return 0.0

    def _slot(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), key=self._salt, digest_size=4).digest()
        return int.from_bytes(digest, "big") % _SLOTS


class RequestLimits:
    """Refuses who asks too much: a person by name, an address that nobody signed in from, and wrong tokens by address.

    Args:
        requests_per_minute: of each person, and of each address.
        failures_per_minute: wrong tokens of each address that are looked at, and uses of each token that enrols somebody.
        monotonic: seconds that never go back.
        salt: random bytes, 16 to 64.
        at_once: requests of each person that are answered at the same time.
    """

    def __init__(
        self,
        requests_per_minute: int,
        failures_per_minute: int,
        *,
        monotonic: Callable[[], float],
        salt: bytes,
        at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._requests = RateLimit(requests_per_minute, salt=salt)
        self._failures = RateLimit(failures_per_minute, salt=salt)
        # Of their own: whoever has many addresses fills every slot of the others, and none of these.
        self._uses = RateLimit(failures_per_minute, salt=salt)
        self._at_once = AtOnce(at_once)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._good: OrderedDict[str, None] = OrderedDict()

    def count_person(self, name: str, scope: MutableMapping[str, Any] | None = None) -> None:
        """Count a request of a person, and hold it as one that is being answered until the request of `scope` ends.

        Raises:
            HTTPException: 429.
        """
        if scope is not None and not self._at_once.enter(name, scope):
            raise _too_many("too many of your requests are being answered right now", 1.0)
        self._count(f"person {name}")

    def count_address(self, address: str) -> None:
        """Count a request of somebody unknown.

        Raises:
            HTTPException: 429.
        """
        self._count(f"address {network_of(address)}")

    def count_use(self, token: str) -> None:
        """Count a use of a token that is known to be right, wherever it came from: nobody else's doing counts here.

        Raises:
            HTTPException: 429.
        """
        with self._lock:
            wait_s = self._uses.take(fingerprint(token), self._monotonic())
        if wait_s:
            raise _too_many("this token was used too often", wait_s)

    def check_tries(self, address: str, token: str) -> None:
        """Do nothing where a token of this address is to be looked at.

        A token that was good a while ago is looked at all the same: one wrong script behind a shared address must not shut out
        everybody else who is there.

        Raises:
            HTTPException: 429, too many wrong ones came from there.
        """
        with self._lock:
            wait_s = self._failures.wait_s(network_of(address), self._monotonic())
            if wait_s <= 1e-6 or fingerprint(token) in self._good:
                return
        raise _too_many("too many wrong tokens came from this address", wait_s)

    def note_try(self, address: str, token: str, *, good: bool) -> None:
        """Remember whether a token was somebody's."""
        digest = fingerprint(token)
        with self._lock:
            self._good.pop(digest, None)
            if good:
                self._good[digest] = None
                if len(self._good) > _MOST_GOOD:
                    self._good.popitem(last=False)
            else:
                self._failures.take(network_of(address), self._monotonic())

    def _count(self, key: str) -> None:
        with self._lock:
            wait_s = self._requests.take(key, self._monotonic())
        if wait_s:
            raise _too_many("too many requests", wait_s)


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6 the first 64 bits, of which everybody at home has all."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((found, 64), strict=False))


def _too_many(why: str, wait_s: float) -> HTTPException:
    seconds = max(1, math.ceil(wait_s))
    return HTTPException(429, f"{why}; come again in {seconds} s", headers={"Retry-After": str(seconds)})
