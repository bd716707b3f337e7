"""Puts together what of a station talks to the cloud: second opinions, the uplink, updates. Each is there only if configured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from agent.chores import Chores
from agent.delivery import Delivery
from agent.health.board import board
from agent.mailboxes import Switch
from agent.ports.clock import Clock
from agent.ports.fallback import Fallback
from agent.ports.log import Log
from agent.ports.orders import OrderInbox, Report
from agent.ports.samples import SampleSender
from agent.ports.slots import InstalledBundle
from agent.second_opinions import OpinionRules, SecondOpinions
from agent.settings import Settings
from agent.slots.ab_slots import Slots
from agent.store.outbox import Outbox
from agent.store_wiring import Store, read_bytes
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.manifest import Manifest
from contract.messages import StationState

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    import httpx

    from agent.orders_loop import OrdersLoop
    from agent.settings_keys import BrokerSettings, CloudSettings
    from agent.update_loop import UpdateLoop
    from agent.update_wiring import Trust
    from agent.uplink.renewal import CertificateRenewal
    from agent.uplink.tls import StationTls

AGENT_VERSION = "0.2.0"
_HTTP_TIMEOUT_S = 10.0
_BROKER_AWAY_S = 900.0
_NEVER_REACHED_S = 30.0


class CloudSide:
    """The station's side of the cloud."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: Log,
        store: Store,
        stack: ExitStack,
        *,
        roll: Callable[[], float],
        simulated: bool,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._store = store
        self._stack = stack
        self._roll = roll
        self._simulated = simulated
        self._made: dict[tuple[Path | None, ...], StationTls] = {}
        self._http = self._make_http()

    def fallback(self, in_charge: Callable[[], InstalledBundle | None], wake: Callable[[], None]) -> Fallback | None:
        """Return the cloud's model as a second opinion, or None: `wake` is called on another thread when it has answered."""
        policy = self._settings.policy
        # P8: without permission there is nothing that could send an image.
        if self._http is None or not policy.fallback or not policy.images_leave.allows_fallback():
            return None
        from agent.uplink.fallback import HttpFallback, ServedBundle

        def served() -> ServedBundle | None:
            bundle = in_charge()
            return ServedBundle(bundle.digest, bundle.manifest.labels) if bundle else None

        url, station = self._settings.cloud.url, self._settings.station
        return HttpFallback(self._http, url, station, served, self._clock, self._log, on_answer=wake)

    def second_opinions(
        self, manifest_of: Callable[[str], Manifest | None], pressed: Callable[[], bool]
    ) -> SecondOpinions | None:
        """Return the loop that asks about kept frames after their verdict."""
        policy, store = self._settings.policy, self._store
        # P8: as above.
        if self._http is None or not policy.asks_later:
            return None
        from agent.uplink.deferred import HttpOpinions

        connection = store.connect()
        return SecondOpinions(
            store.opinions(connection),
            store.samples(connection),
            HttpOpinions(self._http, self._settings.cloud.url, self._settings.station, self._clock),
            manifest_of,
            store.memory(),
            self._clock,
            self._log,
            OpinionRules(policy.images_leave, policy.deferred_per_hour, policy.deferred_mib_per_day << 20),
            roll=self._roll,
            pressed=pressed,
        )

    def uplink(
        self, inbox: OrderInbox, report: Report, make_chores: Callable[[Store, SampleSender | None], Chores]
    ) -> UplinkLoop | None:
        """Return the loop that ships summaries and takes commands."""
        settings = self._settings
        if not settings.broker.host:
            return None
        from agent.uplink.mqtt import MqttLink

        sender = None
        # P8: as above.
        if self._http is not None and settings.policy.images_leave.value != "never":
            from agent.uplink.samples_upload import HttpSampleSender

            sender = HttpSampleSender(self._http, settings.cloud.url, settings.station)
        store = self._store
        outbox, memory = store.outbox(store.connect()), store.memory()
        link = MqttLink(
            settings.broker.host,
            settings.broker.port,
            settings.station,
            self._birth(outbox),
            self._clock,
            tls=self._tls(settings.broker),
        )
        return UplinkLoop(
            link,
            Delivery(outbox, resend_after_s=settings.broker.resend_after_s, roll=self._roll),
            make_chores(store, sender),
            inbox,
            report,
            self._clock,
            self._log,
            UplinkRules(settings.station, reconnect_max_s=settings.broker.reconnect_max_s),
            roll=self._roll,
            remember=lambda trouble: memory.put("uplink", trouble),
        )

    def _birth(self, outbox: Outbox) -> Callable[[bool], StationState]:
        kind = board()

        def state(online: bool) -> StationState:
            return StationState(
                station=self._settings.station,
                boot=outbox.boot,
                online=online,
                at=self._clock.now(),
                agent_version=AGENT_VERSION,
                simulated=self._simulated,
                next_seq=outbox.next_seq(),
                board=kind,
            )

        return state

    def trust(self) -> Trust | None:
        """Return what this station was provisioned to trust; None when it follows no orders.

        Raises:
            InvalidConfig: a file of [trust] cannot be used.
        """
        if not self._settings.trust.order_keys:
            return None
        from agent.update_wiring import read_trust

        return read_trust(self._settings)

    def updates(
        self,
        trust: Trust | None,
        inbox: OrderInbox,
        report: Report,
        switch: Switch,
        slots: Slots,
        held: Callable[[], bool],
    ) -> UpdateLoop | None:
        """Return the loop that follows signed orders; while `held`, nothing that is asked for by hand begins."""
        if trust is None:
            return None
        from agent.update_wiring import make_update_loop

        return make_update_loop(
            self._settings,
            trust,
            boot=self._store.boot,
            slots=slots,
            switch=switch,
            inbox=inbox,
            report=report,
            http=self._http,
            clock=self._clock,
            roll=self._roll,
            held=held,
        )

    def orders(self, inbox: OrderInbox, report: Report, uplink: UplinkLoop | None) -> OrdersLoop | None:
        """Return the loop that asks for orders over HTTP while no broker brings them."""
        if self._http is None or not self._settings.trust.order_keys:
            return None
        from agent.orders_loop import OrdersLoop
        from agent.uplink.orders_http import HttpOrders

        # A broker that was never reached is asked for less long: a new station waits for its first order.
        clock, reached_s = self._clock, self._clock.monotonic() - _BROKER_AWAY_S + _NEVER_REACHED_S

        def needed() -> bool:
            nonlocal reached_s
            if uplink is None:
                return True
            if uplink.connected():
                reached_s = clock.monotonic()
            return clock.monotonic() - reached_s > _BROKER_AWAY_S

        asked = HttpOrders(self._http, self._settings.cloud.url, self._settings.station, clock)
        return OrdersLoop(asked, inbox, report, clock, needed=needed, roll=self._roll)

    def _tls(self, section: BrokerSettings | CloudSettings) -> ssl.SSLContext | None:
        """Return the context of connections to the broker or the cloud; one for both where they name the same files."""
        if not section.ca_file:
            return None
        from agent.uplink.tls import StationTls

        path = self._settings.path
        own = (path(section.cert_file), path(section.key_file)) if section.cert_file else (None, None)
        files = (path(section.ca_file), *own)
        if files not in self._made:
            self._made[files] = StationTls(*files)
        return self._made[files].context

    def renewal(self) -> CertificateRenewal | None:
        """Return what renews this station's certificate, None where it has none that the cloud renews."""
        cloud = self._settings.cloud
        if self._http is None or not (cloud.ca_file and cloud.cert_file and cloud.token_file):
            return None
        from agent.uplink.identity_files import IdentityFiles
        from agent.uplink.renewal import CertificateRenewal

        def changed() -> None:
            for tls in self._made.values():
                tls.reload()

        files = IdentityFiles(self._settings.path(cloud.cert_file).parent)
        station, clock, log = self._settings.station, self._clock, self._log
        return CertificateRenewal(files, self._http, cloud.url, station, clock, log, changed=changed, roll=self._roll)

    def _make_http(self) -> httpx.Client | None:
        cloud = self._settings.cloud
        if not cloud.url:
            return None
        import httpx

        headers = {}
        if cloud.token_file:
            token = (
                read_bytes(self._settings.path(cloud.token_file), "cloud.token_file").decode(errors="replace").strip()
            )
            headers["Authorization"] = f"Bearer {token}"
        tls = self._tls(cloud)
        client = httpx.Client(headers=headers, timeout=_HTTP_TIMEOUT_S, verify=tls if tls is not None else True)
        self._stack.callback(client.close)
        return client
