"""Alerts and metrics put together from cloud.toml: what needs a person, whom it is told, by which channels, and what is counted."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloud.alerts.channel import Channel
from cloud.alerts.delivery import Delivery
from cloud.alerts.message import Links
from cloud.alerts.mqtt import BrokerChannel
from cloud.alerts.webhook import Webhook
from cloud.api.metrics import Metrics
from cloud.clock import SystemClock
from cloud.database_outages import DatabaseOutages
from cloud.database_watch import DatabaseWatch
from cloud.fleet_facts import FactSources, FleetFacts, NeedsNow
from cloud.fleet_figures import FleetFigures
from cloud.needs import DATABASE, Found, database_need
from cloud.needs_of_stations import SILENT
from cloud.notice_rules import NoticeRules
from cloud.notices import NoticesLoop
from cloud.outage_book import FILE, OutageBook
from cloud.ports.figures import Figures
from cloud.ports.link import Link
from cloud.ports.notices import PostBox
from cloud.ports.promises import Promises
from cloud.registry.release import Registry
from cloud.registry.resign_status import ResignStatus
from cloud.settings import CloudSettings
from cloud.settings_operate import check_webhook
from cloud.store.clock_witness import ClockWitness
from cloud.store.fact_rows import FactRows
from cloud.store.metric_rows import MetricRows
from cloud.store.notices import Notices
from cloud.store.pulse import Pulse
from cloud.store_wiring import Stores, missing_file
from contract.errors import InvalidConfig

_UNDELIVERED_S = 3600.0
_KEPT_S = 90 * 86_400.0
# Its own source: nobody else draws from it, or seeds it.
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Alerts:
    """`needs` for pages; `loop`, `outages`, and each of `deliveries` and `urgent` (what is told of the database) is run in a thread
    of its own; `notices` is their table."""

    needs: NeedsNow
    loop: NoticesLoop
    deliveries: tuple[tuple[str, Delivery], ...]
    outages: DatabaseOutages
    urgent: tuple[tuple[str, Delivery], ...]
    notices: Notices
    witness: ClockWitness
    _channels: tuple[Channel, ...]

    def prune(self, now: float) -> None:
        """Forget what was over months ago, by a clock that can be right."""
        if self.witness.believes(now):
            self.notices.prune(now - _KEPT_S)

    def close(self) -> None:
        """Let go of the channels."""
        for channel in self._channels:
            channel.close()


def make_links(settings: CloudSettings) -> Links:
    """Return what makes links whole."""
    page = settings.alerts.page_url or settings.api.public_url or settings.api.url()
    return Links(page, settings.alerts.runbook_url or f"{page.rstrip('/')}/runbooks")


def make_channels(settings: CloudSettings, link: Link, now: Callable[[], float]) -> tuple[Channel, ...]:
    """Return every channel of [alerts].

    Raises:
        InvalidConfig: a file with an address or a secret cannot be read.
    """
    return (*_webhooks(settings, now), *([BrokerChannel(link)] if settings.alerts.mqtt else []))


def make_watch(settings: CloudSettings, stores: Stores, clock: SystemClock) -> DatabaseWatch:
    """Return what looks whether the database can be used; an outage that the process before this one saw goes on."""
    away_since = OutageBook(settings.path(FILE)).away_since
    return DatabaseWatch(
        Pulse(stores.database).beat,
        stores.database.why_lost,
        clock.monotonic,
        told_after_s=settings.alerts.database_after_s,
        away_s=max(clock.now() - away_since, 0.0) if away_since is not None else 0.0,
    )


def make_alerts(
    settings: CloudSettings,
    stores: Stores,
    link: Link,
    now: Callable[[], float],
    watch: DatabaseWatch,
    *,
    repository: Callable[[], ResignStatus] | None = None,
    promises: Promises | None = None,
    faults: Callable[[], dict[str, int]] = dict,
    heard_by_http: Callable[[], Mapping[str, float]] = dict,
) -> Alerts:
    """Return what tells people; `faults` says what broke in the server's loops of late.

    Raises:
        InvalidConfig: as `make_channels`.
    """
    notices = Notices(stores.database)
    channels = make_channels(settings, link, now)
    names = [channel.name for channel in channels]
    sources = FactSources(
        stations=stores.stations,
        summaries=stores.summaries,
        samples=stores.samples,
        alarms=stores.alarms,
        rollouts=stores.rollouts,
        rows=FactRows(stores.database),
        link=link,
        silent_after_s=settings.alerts.silent_after_s,
        repository=repository,
        promises=promises,
        disks={"the cloud's home": settings.path(".")},
        known_silent=lambda: _known_silent(notices),
        undelivered=lambda: {c: n for c, n in notices.undelivered(now() - _UNDELIVERED_S).items() if c in names},
        faults=faults,
        lost_database=watch.why,
        heard_by_http=heard_by_http,
    )
    needs = NeedsNow(FleetFacts(sources, now), now)
    notices.forget_channels(names, now())
    rules = NoticeRules(cooldown_s=settings.alerts.cooldown_s, repeat_s=settings.alerts.repeat_h * 3600.0)
    loop = NoticesLoop(notices, lambda: _but_the_database(needs.found()), names, make_links(settings), rules, now)
    book = OutageBook(settings.path(FILE))
    return Alerts(
        needs=needs,
        loop=loop,
        deliveries=_deliveries(channels, notices, now),
        outages=DatabaseOutages(watch, _outage_loop(settings, book, watch.found, names, now), book, notices, now),
        urgent=_deliveries(channels, book, now),
        notices=notices,
        witness=ClockWitness(stores.database),
        _channels=channels,
    )


def tell_it_does_not_open(settings: CloudSettings, why: str, now: Callable[[], float]) -> None:
    """Tell, by the webhooks, that a server cannot start since its database does not open; each server that is started in its
    place comes here again, and what one told the next does not tell.

    Raises:
        InvalidConfig: as `make_channels`.
    """
    book = OutageBook(settings.path(FILE))
    # Of a first server whose folder is missing nothing was lost: the next one makes what this one could not.
    book.note_away(now(), made=missing_file(settings) is None)
    away_s = now() - (book.away_since or now())
    found = Found((database_need(why),) if away_s >= settings.alerts.database_after_s else ())
    channels = _webhooks(settings, now)
    _outage_loop(settings, book, lambda: found, [each.name for each in channels], now).tick()
    for _, delivery in _deliveries(channels, book, now):
        delivery.tick()
    for channel in channels:
        channel.close()


def _outage_loop(
    settings: CloudSettings,
    book: OutageBook,
    found: Callable[[], Found],
    channels: Sequence[str],
    now: Callable[[], float],
) -> NoticesLoop:
    alerts = settings.alerts
    # It must have been back for as long as it had to be away.
    rules = NoticeRules(
        cooldown_s=alerts.cooldown_s, repeat_s=alerts.repeat_h * 3600.0, settle_s=alerts.database_after_s
    )
    return NoticesLoop(book, found, channels, make_links(settings), rules, now)


def _but_the_database(found: Found) -> Found:
    # What stands in tables cannot tell of them.
    return Found(tuple(need for need in found.needs if need.key != DATABASE), found.hidden)


def _deliveries(
    channels: Sequence[Channel], posts: PostBox, now: Callable[[], float]
) -> tuple[tuple[str, Delivery], ...]:
    return tuple((each.name, Delivery(each, posts, now, _CHANCE.random)) for each in channels)


def make_metrics(
    settings: CloudSettings,
    stores: Stores,
    registry: Registry,
    alerts: Alerts,
    server: Figures,
    *more: Figures,
    why_lost: Callable[[], str],
    repository: Callable[[], ResignStatus],
    promises: Promises,
) -> Metrics:
    """Return what /metrics answers: the server's figures, the fleet's, and those of `more` that count something."""
    fleet = FleetFigures(
        rows=MetricRows(stores.database),
        facts=FactRows(stores.database),
        stations=stores.stations,
        summaries=stores.summaries,
        samples=stores.samples,
        rollouts=stores.rollouts,
        releases=registry.catalog,
        notices=alerts.notices,
        needs=alerts.needs.current,
        repository=repository,
        promises=promises,
        per_station=settings.metrics.stations,
        why_lost=why_lost,
    )
    return Metrics([server, fleet, *more])


def _known_silent(notices: Notices) -> frozenset[str]:
    told = [notice.members for notice in notices.open() if notice.need.kind == SILENT and notice.times_told]
    return frozenset().union(*told)


def _webhooks(settings: CloudSettings, now: Callable[[], float]) -> list[Webhook]:
    return [Webhook(*each, now, _secret(settings, each[0])) for each in _addresses(settings)]


def _addresses(settings: CloudSettings) -> list[tuple[str, str]]:
    found = []
    for name, url in sorted(settings.alerts.webhooks.items()):
        if url.startswith("file:"):
            url = _read(settings, url.removeprefix("file:"), f"alerts.webhooks.{name}")
            check_webhook(f"the address in the file of alerts.webhooks.{name}", url)
        found.append((name, url))
    return found


def _secret(settings: CloudSettings, name: str) -> bytes:
    file = settings.alerts.secrets.get(name)
    return _read(settings, file, f"alerts.secrets.{name}").encode() if file is not None else b""


def _read(settings: CloudSettings, file: str, key: str) -> str:
    path = settings.path(file)
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read {path}, which {key} names", hint="write it there, on one line") from error
    if not text or text.startswith("file:"):
        raise InvalidConfig(f"{path}, which {key} names, holds none", hint="write it there, on one line")
    return text
