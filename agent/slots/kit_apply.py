"""From a stick into the station's own kit inbox: everything is checked first, so that what is refused leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.ports.update import FloorStore, SlotStore
from agent.slots.disk import Disk
from agent.slots.kit_inbox import KitInbox
from agent.slots.kit_source import (
    MAX_METADATA_BYTES,
    MAX_METADATA_FILES,
    MAX_ORDER_BYTES,
    KitSource,
    kit_faults,
    read_whole,
)
from agent.slots.part_file import PartFile, WrongPiece
from agent.slots.tuf_client import TufClient
from agent.update.compatible import MachineFacts, check_fits
from agent.update.floors import effective_now, raise_repository
from agent.update.order_keys import OrderKeyRing, check_vouched, renewed
from agent.update.trust import Acceptance, judge_order
from agent.update.trusted_target import TrustedTarget
from contract.codec import decode_control
from contract.errors import BadBundle, BadMessage, BadOrder, NotFound, TransientError
from contract.ids import bundle_target
from contract.messages import DesiredState, Order
from contract.order_keys_target import order_keys_target
from contract.signature import verify_order
from contract.target_facts import read_facts

_CHUNK = 256 << 10
_TIMES_WRONG = 3


@dataclass(frozen=True, slots=True)
class StationFacts:
    """What a station judges a kit by. `now` is its wall clock, Unix seconds; `root` the pinned root."""

    station: str
    keys: OrderKeyRing
    root: bytes
    now: float
    machine: MachineFacts
    slots: SlotStore
    floors: FloorStore


def order_in(kit: KitSource, facts: StationFacts) -> tuple[Acceptance, Order, bytes]:
    """Return whether the kit's order for this station is to be followed, the order, and its DesiredState as JSON.

    Raises:
        NotFound: the kit is for other stations.
        BadOrder: it must not be followed: of another cloud, replayed, expired, banned.
        BadBundle: it cannot be read.
    """
    names = kit.names("orders")
    name = f"orders/{facts.station}.json"
    if name not in names:
        others = ", ".join(each.split("/")[1].removesuffix(".json") for each in names[:5]) or "nobody"
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise NotFound(f"the kit holds no order for '{facts.station}'", hint=f"it is for {others}{more}")
    data = read_whole(kit, name, MAX_ORDER_BYTES)
    try:
        desired = decode_control(data, DesiredState)
    except BadMessage as error:
        raise BadBundle(f"'{name}' of the kit is damaged: {error.message}", hint="copy the kit again") from error
    order = verify_order(desired.envelope, renewed(facts.keys, desired.order_keys).keys)
    mark = facts.slots.committed()
    accepted = judge_order(
        order,
        station=facts.station,
        now=facts.now,
        floors=facts.floors.read(),
        banned=facts.slots.banned(),
        committed=mark.order if mark else None,
    )
    if accepted is Acceptance.FOLLOW and not order.bundle:
        raise BadOrder("the kit orders the station to run nothing")
    return accepted, order, data


def bring_in(
    kit: KitSource, inbox: KitInbox, order: Order, data: bytes, facts: StationFacts, should_stop: Callable[[], bool]
) -> bool:
    """Copy the kit into the inbox; False when `should_stop` said so. On any error nothing of it is there.

    The metadata is verified before the bundle is copied, and each byte of the bundle as it is copied.

    Raises:
        BadBundle: the kit is damaged, foreign or outdated, or its bundle cannot run here.
        NotFound: something is missing from it.
        BadOrder: order and metadata disagree.
        StorageFull: no room.
        TransientError: the metadata is expired by this station's clock, its own disk failed, or another kit is being copied.
    """
    folder = inbox.prepare()
    try:
        _copy_metadata(kit, folder / "metadata")
        target = _verified_target(folder, order, data, facts)
        facts.slots.preflight(order.size_bytes)
        if not _copy_target(kit, target, folder, should_stop):
            inbox.abandon()
            return False
        inbox.put(data)
    except BaseException:
        inbox.abandon()
        raise
    return True


def _copy_metadata(kit: KitSource, folder: Path) -> None:
    names = kit.names("metadata")
    if len(names) > MAX_METADATA_FILES:
        raise BadBundle(f"the kit has {len(names)} metadata files")
    disk, left = Disk(), 4 * MAX_METADATA_BYTES
    disk.make_folder(folder)
    for name in names:
        data = read_whole(kit, name, min(MAX_METADATA_BYTES, left))
        left -= len(data)
        path = folder / name.split("/")[1]
        disk.write(path, (data,))
        disk.fsync(path)


def _verified_target(folder: Path, order: Order, data: bytes, facts: StationFacts) -> TrustedTarget:
    """Return the bundle as the kit's metadata has it, which must vouch for the order keys too where the order needs new ones."""
    floors = facts.floors.read()
    now = effective_now(floors, facts.now)
    scratch = folder / "cache"
    # No floors for the client: a running station's are not this process's to raise. They are compared here.
    client = TufClient.for_folder(folder, scratch, facts.root)
    name, desired = bundle_target(order.bundle), decode_control(data, DesiredState)
    ring = renewed(facts.keys, desired.order_keys)
    try:
        found, seen = client.look_up_targets([name, order_keys_target(ring.version)], now)
    except TransientError as error:
        raise BadBundle(f"the kit does not hold: {error.message}", hint=error.hint or "make a new kit") from error
    finally:
        Disk().remove(scratch)
    raise_repository(floors, seen)
    if ring != facts.keys and not _is_signed_by(facts.keys, desired.envelope):
        check_vouched(ring, found.get(order_keys_target(ring.version)))
    target = found.get(name)
    if target is None:
        raise NotFound("the kit's metadata does not list the bundle that its order names", hint="make a new kit")
    if target.digest != order.bundle or target.size_bytes != order.size_bytes:
        raise BadOrder("the kit's order and its metadata disagree about the bundle", hint="make a new kit")
    told = read_facts(target.custom)
    check_fits(told.compatibility, told.memory_mib, facts.machine)
    return target


def _is_signed_by(ring: OrderKeyRing, envelope: str) -> bool:
    try:
        verify_order(envelope, ring.keys)
    except BadOrder:
        return False
    return True


def _copy_target(kit: KitSource, target: TrustedTarget, folder: Path, should_stop: Callable[[], bool]) -> bool:
    disk, path = Disk(), folder / "targets" / target.name
    disk.make_folder(path.parent)
    part = PartFile(path, target.digest, target.size_bytes, disk, read_facts(target.custom).manifest)
    name, times_wrong = f"targets/{target.name}", Counter[int]()
    while part.size < target.size_bytes:
        try:
            if not _copy_on(kit, name, part, should_stop):
                return False
        except WrongPiece as wrong:
            times_wrong[wrong.start] += 1
            if times_wrong[wrong.start] >= _TIMES_WRONG:
                raise BadBundle(
                    f"'{name}' of the kit is damaged at byte {wrong.start}", hint="copy the kit again, to another stick"
                ) from wrong
    part.finish()
    return True


def _copy_on(kit: KitSource, name: str, part: PartFile, should_stop: Callable[[], bool]) -> bool:
    with kit.open(name) as file:
        with kit_faults(name):
            file.seek(part.size)
        while part.size < part.size_bytes:
            if should_stop():
                return False
            with kit_faults(name):
                data = file.read(min(_CHUNK, part.size_bytes - part.size))
            if not data:
                raise BadBundle(
                    f"'{name}' of the kit ends {part.size_bytes - part.size} bytes early",
                    hint="copy the kit again, all of it",
                )
            part.add(data)
    return True
