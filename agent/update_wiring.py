"""Puts the update loop together: for the station's update thread, and for `plumbline-agent update` on a stopped station."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.hand_over import HandOver
from agent.image_fetch import ImageFetch, ImageSource
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.ports.slots import BundleSwitch
from agent.ports.update import SelfTester
from agent.runtime.machine_facts import read_machine_facts
from agent.settings import Settings
from agent.slots.ab_slots import Slots
from agent.slots.by_hand import ByHand
from agent.slots.floors_file import FloorsFile
from agent.slots.kit_inbox import KitInbox
from agent.slots.order_keys_file import OrderKeysFile
from agent.slots.reported_file import ReportedFile
from agent.slots.selftest import SubprocessSelfTest
from agent.slots.tuf_client import TufClient
from agent.stepping_back import SteppingBack
from agent.store_wiring import read_bytes
from agent.update.compatible import incompatibilities
from agent.update.floors import effective_now
from agent.update.trusted_target import TrustedTarget
from agent.update_loop import UpdateLoop
from contract.errors import InvalidConfig
from contract.signature import OrderKey

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Trust:
    """What a station was provisioned to trust: the image side's root, and the order keys that hold now."""

    root: bytes
    keys: OrderKeysFile


def pinned_keys(settings: Settings) -> list[OrderKey]:
    """Return the order keys of the station's provisioning.

    Raises:
        InvalidConfig: a file of [trust] cannot be read, or is no key.
    """
    keys = []
    for name in settings.trust.order_keys:
        try:
            keys.append(msgspec.json.decode(read_bytes(settings.path(name), "trust.order_keys"), type=OrderKey))
        except msgspec.DecodeError as error:
            raise InvalidConfig(f"'{name}' is no order key: {error}", hint="copy it from the cloud again") from error
    return keys


def read_trust(settings: Settings) -> Trust:
    """Return what the station trusts.

    Raises:
        InvalidConfig: it trusts nobody, or a file of [trust] cannot be used.
    """
    if not settings.trust.order_keys or not settings.trust.root:
        raise InvalidConfig(
            "this station follows no updates: [trust] names no root or no order_keys",
            hint="provision it with: plumbline-cloud station add",
        )
    keys = OrderKeysFile(settings.home_folder / "floors", pinned_keys(settings))
    return Trust(read_bytes(settings.path(settings.trust.root), "trust.root"), keys)


def make_update_loop(
    settings: Settings,
    trust: Trust,
    *,
    boot: str,
    slots: Slots,
    switch: BundleSwitch,
    inbox: OrderInbox,
    report: Report,
    http: httpx.Client | None,
    clock: Clock,
    roll: Callable[[], float],
    selftest: SelfTester | None = None,
    held: Callable[[], bool] = lambda: False,
) -> UpdateLoop:
    """Return the loop; with no `http` bundles come by kits alone. While `held`, nothing that is asked for by hand begins.

    Raises:
        InvalidConfig: the pinned root is no TUF root.
    """
    home = settings.home_folder
    floors = FloorsFile(home / "floors")

    def client(folder: Path, cache: Path) -> TufClient:
        return TufClient.for_folder(folder, cache, trust.root, floors=floors)

    network = [] if http is None else [_network(settings, trust, http, slots, floors, clock)]
    hand = HandOver(
        settings.station,
        trust.keys,
        kits=KitInbox(home),
        reported=ReportedFile(home),
        inbox=inbox,
        report=report,
        slots=slots,
        floors=floors,
        clock=clock,
        client=client,
        network=network[0].repository if network else None,
        step_back=SteppingBack(
            settings.station, boot, ByHand(home), slots=slots, switch=switch, report=report, clock=clock
        ),
        held=held,
    )
    machine = read_machine_facts()
    images = ImageFetch(lambda: [*hand.sources(), *network], slots=slots, floors=floors, machine=machine)
    loop = UpdateLoop(
        settings.station,
        boot,
        lambda: trust.keys.read().keys,
        inbox=hand,
        report=hand,
        images=images,
        slots=slots,
        floors=floors,
        selftest=selftest
        or SubprocessSelfTest(unfit=lambda needs: incompatibilities(needs, machine), should_stop=lambda: loop.stopping),
        switch=switch,
        clock=clock,
        roll=roll,
    )
    return loop


def _network(
    settings: Settings, trust: Trust, http: httpx.Client, slots: Slots, floors: FloorsFile, clock: Clock
) -> ImageSource:
    # Here, since a station that only knows kits needs neither.
    from agent.slots.delta_download import DeltaDownloader
    from agent.slots.download import HttpDownloader

    home, url = settings.home_folder, f"{settings.cloud.url.rstrip('/')}/v1/tuf"
    client = TufClient(http, url, home / "tuf", trust.root, floors=floors)

    def listed(names: Iterable[str]) -> Mapping[str, TrustedTarget]:
        return client.look_up_targets(names, effective_now(floors.read(), clock.now()))[0]

    downloader = DeltaDownloader(
        HttpDownloader(http, url, home / "downloads", clock),
        HttpDownloader(http, url, home / "deltas", clock),
        listed,
        slots.boot_bundles,
        home / "built",
    )
    return ImageSource("the image repository", client, downloader)
