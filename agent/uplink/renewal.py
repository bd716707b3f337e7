"""The next certificate, asked for when two thirds of the present one's life are over."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

import httpx

from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.uplink.enrolment import renew
from agent.uplink.identity_files import IdentityFiles
from contract.errors import PlumblineError

_log = logging.getLogger(__name__)

_TICK_S = 30.0
_AGAIN_S = 600.0
_NEXT_S = 86_400.0


class CertificateRenewal:
    """Runs in a thread of its own, or `tick` is called by one: it asks when it is time, and picks up what `enrol --renew` replaced.

    Args:
        client: shows the station's token, and its present certificate.
        changed: called with a new certificate on the disk: connections made from now on must show it.
        roll: gives a number in [0, 1): stations that failed together do not try again together.
    """

    def __init__(
        self,
        files: IdentityFiles,
        client: httpx.Client,
        url: str,
        station: str,
        clock: Clock,
        log: Log,
        *,
        changed: Callable[[], None],
        roll: Callable[[], float],
    ) -> None:
        self._files, self._client, self._url, self._station = files, client, url, station
        self._clock, self._log, self._changed, self._roll = clock, log, changed, roll
        self._stamp = files.stamp()
        self._again_s = -math.inf
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        while not stop.wait(_TICK_S):
            try:
                self.tick()
            except Exception:  # noqa: BLE001  the daemon's outermost guard: renewing must never end the station
                self.faults += 1
                _log.exception("renewing the certificate failed and goes on")

    def tick(self) -> None:
        """Renew if it is time. What fails is said, and tried again later; nothing is raised."""
        if self._files.stamp() != self._stamp:
            self._take_up("took up the certificate that was renewed by hand")
        note = self._files.note()
        if note is None or self._clock.now() < note.renew_at() or self._clock.monotonic() < self._again_s:
            return
        try:
            renew_now(self._files, self._client, self._url, self._station)
        except PlumblineError as error:
            self._again_s = self._clock.monotonic() + _AGAIN_S * (0.5 + self._roll())
            days = (note.not_after - self._clock.now()) / 86_400.0
            self._log.say(f"the certificate, good for {days:.1f} more days, was not renewed: {error.one_line()}")
            return
        # A clock that is ahead finds every new certificate old.
        self._again_s = self._clock.monotonic() + _NEXT_S
        self._take_up("renewed the certificate")

    def _take_up(self, said: str) -> None:
        self._stamp = self._files.stamp()
        try:
            self._changed()
        except PlumblineError as error:
            self._log.say(f"the new certificate cannot be used: {error.one_line()}")
            return
        self._log.say(said)


def renew_now(files: IdentityFiles, client: httpx.Client, url: str, station: str) -> float:
    """Replace the certificate and its key; return when the new one ends (Unix seconds).

    A lost answer leaves the key pending: the next try asks with the same one.

    Raises:
        LinkDown, RefusedError, BadMessage: no certificate came; the present one stays.
        InvalidConfig: this device can make no key.
        StorageFull, TransientError: the disk refused; the present one is whole.
    """
    key = files.pending_key()
    answer, note = renew(client, url, station, key.request)
    files.take(key, answer.certificate, answer.ca, note)
    return note.not_after
