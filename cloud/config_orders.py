"""Settings for stations, ordered: checked, numbered, signed, and stored until the rollout loop sends them (DESIGN 6).

Which keys an order may set is the station's business: it alone has the agent.toml that they are laid over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from cloud.ports.configurations import ConfigurationBook, StandingConfiguration
from cloud.ports.registry import ConfigSigner
from cloud.ports.stations import StationBook
from contract.config_states import MAX_PROBATION_S, MAX_SETTINGS_BYTES, MIN_PROBATION_S, ConfigState, settings_digest
from contract.errors import InvalidConfig, NotFound, RefusedError
from contract.messages import ConfigOrder

_log = logging.getLogger(__name__)

VALID_S = 30 * 86_400.0
# Not REFUSED: an order that expired is refused too.
_ENDED = (ConfigState.COMMITTED.value, ConfigState.ROLLED_BACK.value)


class ConfigOrders:
    """Orders settings and says how they stand. Thread-safe."""

    def __init__(
        self,
        *,
        configurations: ConfigurationBook,
        stations: StationBook,
        signer: ConfigSigner,
        now: Callable[[], float],
    ) -> None:
        self._book, self._stations, self._signer, self._now = configurations, stations, signer, now

    def order(
        self, stations: Sequence[str], settings: str, probation_s: float, reason: str, actor: str
    ) -> list[dict[str, Any]]:
        """Order `settings`, TOML text to lie over agent.toml ("": none any more), for each of `stations`.

        Returns: for each its station, deployment and config_seq, JSON-ready.
        Raises:
            InvalidConfig: it is no TOML, too long, or `probation_s` is out of range; nothing was ordered.
            NotFound: a station was never added; nothing was ordered.
        """
        _check(settings, probation_s)
        known = set(self._stations.names())
        for station in stations:
            if station not in known:
                raise NotFound(f"no station '{station[:80]}'", hint="add it with: plumbline-cloud station add NAME")
        # One name for all of them; a station that failed with these settings tries them again under another.
        deployment = f"c-{secrets.token_hex(6)}"
        return [self._order(each, settings, probation_s, reason, actor, deployment) for each in dict.fromkeys(stations)]

    def show(self, station: str) -> dict[str, Any]:
        """Return what was ordered for a station and what it reports, JSON-ready.

        Raises:
            NotFound: it was never added.
        """
        said = next((each for each in self._stations.status() if each.station == station), None)
        if said is None:
            raise NotFound(f"no station '{station[:80]}'", hint="add it with: plumbline-cloud station add NAME")
        standing = self._book.standing(station)
        ordered = None
        if standing is not None:
            ordered = {
                "settings": standing.settings,
                "configuration": settings_digest(standing.settings),
                "deployment": standing.deployment,
                "config_seq": standing.config_seq,
                "issued_at": standing.issued_at,
                "reason": standing.reason,
                "published": standing.published,
            }
        reported = {
            "configuration": said.configuration,
            "state": said.config_state,
            "deployment": said.config_deployment,
            "config_seq": said.config_seq,
            "reason": said.config_reason,
            "reported_at": said.reported_at,
        }
        return {"station": station, "ordered": ordered, "reported": reported}

    def renew(self) -> None:
        """Sign anew what has passed half its life and was not followed: a station may be away for longer than an order holds.

        One that is in force or failed there is left as it is; so is what a station that followed a newer one never took.
        """
        status = {each.station: each for each in self._stations.status()}
        for standing in self._book.all_standing():
            said, now = status.get(standing.station), self._now()
            if said is None or now < standing.issued_at + VALID_S / 2:
                continue
            ended = said.config_deployment == standing.deployment and said.config_state in _ENDED
            if ended or said.config_seq > standing.config_seq:
                continue
            seq = self._book.next_seq(standing.station)
            envelope = self._sign(
                standing.station, standing.settings, standing.deployment, seq, standing.probation_s, now
            )
            new = replace(standing, config_seq=seq, envelope=envelope, published=False, issued_at=now)
            try:
                self._book.renew(standing, new)
            except RefusedError as error:
                _log.info("settings are not renewed now: %s", error.one_line())

    def _order(
        self, station: str, settings: str, probation_s: float, reason: str, actor: str, deployment: str
    ) -> dict[str, Any]:
        now, seq = self._now(), self._book.next_seq(station)
        envelope = self._sign(station, settings, deployment, seq, probation_s, now)
        standing = StandingConfiguration(station, seq, settings, deployment, envelope, False, now, reason, probation_s)
        self._book.put(standing, actor)
        return {"station": station, "deployment": deployment, "config_seq": seq}

    def _sign(self, station: str, settings: str, deployment: str, seq: int, probation_s: float, now: float) -> str:
        order = ConfigOrder(station, settings, deployment, seq, now, now + VALID_S, probation_s)
        return self._signer.sign_configuration(order)


def _check(settings: str, probation_s: float) -> None:
    try:
        size = len(settings.encode())
        if size > MAX_SETTINGS_BYTES:
            raise InvalidConfig(f"{size} bytes of settings", hint=f"at most {MAX_SETTINGS_BYTES}")
        msgspec.toml.decode(settings)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"the settings are no TOML: {error}") from error
    if not MIN_PROBATION_S <= probation_s <= MAX_PROBATION_S:
        raise InvalidConfig(f"a probation must be {MIN_PROBATION_S:g} to {MAX_PROBATION_S:g} s, not {probation_s:g}")
