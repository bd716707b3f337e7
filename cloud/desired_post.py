"""What stations are told: each one's order, settings and order keys in one retained message (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloud.ports.configurations import ConfigurationBook, StandingConfiguration
from cloud.ports.link import Link
from cloud.ports.rollouts import RolloutBook, StandingOrder
from contract.codec import encode_control
from contract.messages import DesiredState
from contract.topics import Channel, topic


class DesiredPost:
    """Sends desired states. `desired_of` is for any thread, all else for one.

    `order_keys` returns the signed order keys that stations shall know, "" for those they were provisioned with.
    """

    def __init__(
        self,
        *,
        rollouts: RolloutBook,
        configurations: ConfigurationBook | None,
        order_keys: Callable[[], str],
        link: Link,
    ) -> None:
        self._rollouts, self._configurations, self._link = rollouts, configurations, link
        self._order_keys = order_keys
        self._keys_said = dict[str, str]()

    def forget_sent(self) -> None:
        """Send everything again: a broker that came back may have lost what it retained, and the same order twice is one."""
        self._rollouts.republish_all()
        if self._configurations is not None:
            self._configurations.republish_all()
        self._keys_said.clear()

    def desired_of(self, station: str) -> DesiredState:
        """Return what a station is told: what the broker retains for it."""
        return self._desired(station, self._order_keys())[2]

    def publish(self, stations: Iterable[str]) -> None:
        """Send each station's desired state that changed."""
        keys, book = self._order_keys(), self._configurations
        due = dict.fromkeys(order.station for order in self._rollouts.unpublished())
        due |= dict.fromkeys(each.station for each in book.unpublished()) if book is not None else {}
        due |= dict.fromkeys(station for station in stations if self._keys_said.get(station, "") != keys)
        for station in due:
            order, settings, desired = self._desired(station, keys)
            said = desired.envelope or desired.configuration or desired.order_keys
            # An empty retained message clears what the broker keeps.
            message = encode_control(desired) if said else b""
            if not self._link.publish(topic(station, Channel.DESIRED), message, qos=1, retain=True):
                continue
            self._keys_said[station] = keys
            if order is not None:
                self._rollouts.mark_published(order)
            if book is not None and settings is not None:
                book.mark_published(settings)

    def _desired(
        self, station: str, keys: str
    ) -> tuple[StandingOrder | None, StandingConfiguration | None, DesiredState]:
        order = self._rollouts.standing(station)
        settings = self._configurations.standing(station) if self._configurations is not None else None
        desired = DesiredState(
            station,
            order.envelope if order else "",
            configuration=settings.envelope if settings else "",
            order_keys=keys,
        )
        return order, settings, desired
