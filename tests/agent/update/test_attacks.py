"""P3: who holds one side's keys, a copy of what was said before, or the network in between, installs nothing."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from securesystemslib.dsse import Envelope
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp
from update_plant import NOW, PROBATION, STATION, Plant, plant

from agent.update_loop import UpdateLoop
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.keys import Keys, init_keys
from contract.ids import bundle_target
from contract.messages import ConfigOrder, Order, OrderKeys
from contract.signature import ORDER_TYPE, sign_configuration, sign_order, sign_order_keys

DAY_S = 86_400.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def installed(here: Plant) -> set[str]:
    return {path.name for path in (here.home / "bundles" / "slots").iterdir()}


def only_runs(here: Plant, running: ReleasedVersion, loop: UpdateLoop, ticks: int = 4000) -> str:
    """Tick on; nothing but `running` is installed, was offered or boots. Return the last report's reason."""
    offered = len(here.switch.offered)
    for _ in range(ticks):
        loop.tick(1.0)
    assert installed(here) == {running.digest}
    assert len(here.switch.offered) == offered
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == running.digest
    said = here.report.said[-1]
    assert said.bundle == running.digest
    return said.reason


def vouch(here: Plant, targets: dict[str, TargetFile], keys: Keys | None = None, days: float = 3.0) -> None:
    """Publish a repository state that lists `targets`, signed by the image keys: what their thief could do."""
    keys, metadata = keys or here.keys, here.registry.tuf_folder / "metadata"
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    version = timestamp.signed.version + 1
    expires = timestamp.signed.expires.fromtimestamp(NOW + days * DAY_S, tz=timestamp.signed.expires.tzinfo)
    for name, signed in (
        (f"{version}.targets.json", Targets(version, None, expires, targets)),
        (f"{version}.snapshot.json", Snapshot(version, None, expires, {"targets.json": MetaFile(version)})),
        ("timestamp.json", Timestamp(version, None, expires, MetaFile(version))),
    ):
        signed_by = Metadata(signed)
        signed_by.sign(keys.signer(signed.type))
        (metadata / name).write_bytes(signed_by.to_bytes())


def target(path: str, size_bytes: int, digest: str) -> TargetFile:
    return TargetFile(size_bytes, {"sha256": digest}, path)


# One side's keys


def test_image_keys_alone_cannot_make_a_station_ask_for_anything(here: Plant) -> None:
    running, evil = here.deploy("1"), here.release("2", seed=1)
    loop = here.loop()
    requests = len(here.server.seen)
    vouch(here, {bundle_target(each.digest): target(bundle_target(each.digest), each.size_bytes, each.digest)
                 for each in (running, evil)})  # fmt: skip
    only_runs(here, running, loop, 30)
    assert len(here.server.seen) == requests


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
@pytest.mark.parametrize("name", ["its own", "the order key's"])
def test_an_order_signed_with_an_image_key_is_no_order(here: Plant, role: str, name: str) -> None:
    running, evil = here.deploy("1"), here.release("2", seed=1)
    order = Order(STATION, evil.digest, evil.size_bytes, "evil", 9, 0, NOW, NOW + DAY_S, PROBATION)
    envelope = sign_order(order, here.keys.signer(role))
    if name != "its own":
        envelope = envelope.replace(here.keys.signer(role).public_key.keyid, here.keys.order_key().keyid)
    here.send(envelope)
    assert "no valid signature" in only_runs(here, running, here.loop(), 30)


def test_the_order_key_alone_cannot_name_bytes_of_its_own(here: Plant) -> None:
    """Its thief has the server too, and puts a bundle there that the image keys never saw."""
    running = here.deploy("1")
    with plant(here.folder / "foreign") as foreign:
        evil = foreign.release("9", seed=9)
        source = foreign.registry.tuf_folder / "targets" / bundle_target(evil.digest)
        (here.registry.tuf_folder / "targets" / bundle_target(evil.digest)).write_bytes(source.read_bytes())
    here.send(here.order(evil))
    assert "lists no" in only_runs(here, running, here.loop())
    assert not any(evil.digest in path for path, _ in here.server.seen)


def test_the_order_key_and_a_repository_of_ones_own_install_nothing(here: Plant) -> None:
    running = here.deploy("1")
    foreign = init_keys(here.folder / "foreign")
    evil = here.release("9", seed=9)
    vouch(here, {bundle_target(evil.digest): target(bundle_target(evil.digest), evil.size_bytes, evil.digest)}, foreign)
    here.send(here.order(evil))
    assert "does not hold" in only_runs(here, running, here.loop())


@pytest.mark.parametrize(
    ("sign", "payload"),
    [
        (sign_configuration, ConfigOrder(STATION, "", "evil", 9, NOW, NOW + DAY_S)),
        (sign_order_keys, OrderKeys(9, {"evil": "00" * 32}, NOW)),
    ],
)
def test_what_the_order_key_signed_for_another_purpose_is_no_order(
    here: Plant, sign: Callable[..., str], payload: msgspec.Struct
) -> None:
    running = here.deploy("1")
    envelope = sign(payload, here.keys.signer("order"))
    loop = here.loop()
    here.send(envelope)
    assert "payload type" in only_runs(here, running, loop, 10)
    wire = json.loads(envelope)
    here.send(json.dumps(wire | {"payloadType": ORDER_TYPE}))  # the type is part of what is signed
    assert "no valid signature" in only_runs(here, running, loop, 10)


def test_a_second_signature_that_says_the_same_key_is_no_order(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    wire = json.loads(here.order(other))
    here.send(json.dumps(wire | {"signatures": wire["signatures"] * 2}))
    assert "signed the order twice" in only_runs(here, running, here.loop(), 30)


def test_a_payload_changed_after_it_was_signed_is_no_order(here: Plant) -> None:
    """An order of this station's own, turned to another bundle: the signature is true, and of something else."""
    running, other = here.deploy("1"), here.release("2", seed=1)
    wire = json.loads(here.order(running))
    order = Order(STATION, other.digest, other.size_bytes, "evil", 9, 0, NOW, NOW + DAY_S, PROBATION)
    payload = b64encode(Envelope(msgspec.json.encode(order), ORDER_TYPE, {}).payload).decode()
    here.send(json.dumps(wire | {"payload": payload}))
    assert "no valid signature" in only_runs(here, running, here.loop(), 30)


# What was said before, and to others


def test_an_order_for_another_station_is_refused_even_by_one_that_runs_nothing(here: Plant) -> None:
    other = here.release("1")
    here.send(here.order(other, station="line9-cam9"))
    loop = here.loop()
    for _ in range(30):
        loop.tick(1.0)
    assert not installed(here) and not here.switch.offered
    assert "line9-cam9" in here.report.said[-1].reason


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("floors_lost", [False, True])
def test_a_replayed_order_installs_nothing(here: Plant, restarted: bool, floors_lost: bool) -> None:
    first = here.release("1")
    replayed = here.send(here.order(first, "roll-1"))
    loop = here.loop()
    here.settle(loop)
    second = here.deploy("2", seed=1)
    third = here.deploy("3", seed=2)
    if floors_lost:
        restarted = True  # the commit marks bring them back at a start
        for path in (here.home / "floors").iterdir():
            path.unlink()
    loop = here.loop()
    here.send(replayed)
    if restarted:
        loop = here.loop()
    for _ in range(30):
        loop.tick(1.0)
    assert installed(here) == {second.digest, third.digest}
    assert here.report.said[-1].bundle == third.digest and "not newer" in here.report.said[-1].reason


def test_a_replayed_rollback_does_not_bring_the_old_bundle_back(here: Plant) -> None:
    first, _ = here.deploy("1"), here.deploy("2", seed=1)
    rollback = here.send(here.order(first, "back"))
    assert here.settle(here.loop()).bundle == first.digest
    mended = here.deploy("3", seed=2)
    loop = here.loop()
    here.send(rollback)
    for _ in range(30):
        loop.tick(1.0)
    said = here.report.said[-1]
    assert said.bundle == mended.digest and "not newer" in said.reason
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == mended.digest


def test_a_rollback_that_was_superseded_before_it_came_is_refused(here: Plant) -> None:
    first, second = here.deploy("1"), here.deploy("2", seed=1)
    late = here.order(first, "back")
    here.send(here.order(second, "stay"))
    loop = here.loop()
    here.settle(loop)
    here.send(late)
    for _ in range(10):
        loop.tick(1.0)
    assert here.report.said[-1].bundle == second.digest and here.floors().read().desired_seq == 4


@pytest.mark.parametrize("restarted", [False, True])
def test_a_banned_bundle_is_not_tried_again_until_a_new_deployment_says_so(here: Plant, restarted: bool) -> None:
    running, bad = here.deploy("1"), here.release("2", seed=1)
    here.switch.verdict = "it is worse"
    first = here.send(here.order(bad, "roll-bad"))
    loop = here.loop()
    here.settle(loop)
    here.switch.verdict = ""
    for envelope in (first, here.order(bad, "roll-bad"), here.order(bad, "roll-bad", release_counter=0)):
        if restarted:
            loop = here.loop()
        here.send(envelope)
        assert "it is worse" in only_runs(here, running, loop, 30)
    here.send(here.order(bad, "roll-mended"))
    assert here.settle(loop).bundle == bad.digest


# An image repository that says something else


def test_a_bundle_that_is_listed_under_another_name_only_is_not_found(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    vouch(here, {"bundles/latest.plb": target("bundles/latest.plb", other.size_bytes, other.digest)})
    here.send(here.order(other))
    assert "lists no" in only_runs(here, running, here.loop())


def test_a_bundles_name_over_another_bundles_hash_is_refused(here: Plant) -> None:
    running, other, evil = here.deploy("1"), here.release("2", seed=1), here.release("3", seed=2)
    name = bundle_target(other.digest)
    vouch(here, {name: target(name, other.size_bytes, evil.digest)})
    here.send(here.order(other))
    assert "another hash" in only_runs(here, running, here.loop())
    assert not any(".plb" in path and other.digest in path for path, _ in here.server.seen)


@pytest.mark.parametrize("wrong", [-1, 1, 1 << 40])
@pytest.mark.parametrize("side", ["order", "image"])
def test_a_bundle_of_another_size_than_both_sides_say_is_refused_unfetched(here: Plant, side: str, wrong: int) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    lie = other.size_bytes + wrong if wrong < 1 << 40 else wrong
    if side == "image":
        name = bundle_target(other.digest)
        vouch(here, {name: target(name, lie, other.digest)})
        here.send(here.order(other))
    else:
        here.send(here.order(other, size_bytes=lie))
    assert "bytes" in only_runs(here, running, here.loop())
    assert not any(other.digest in path for path, _ in here.server.seen)


def test_both_sides_that_agree_on_a_wrong_size_take_no_more_than_that_of_the_disk(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1, filler_bytes=2 << 20)
    name, lie = bundle_target(other.digest), 1000
    vouch(here, {name: target(name, lie, other.digest)})
    here.send(here.order(other, size_bytes=lie))
    only_runs(here, running, here.loop())
    assert sum(path.stat().st_size for path in (here.home / "incoming").iterdir()) <= lie


def test_a_repository_that_was_frozen_installs_nothing_after_its_time(here: Plant) -> None:
    running, other = here.deploy("1"), here.release("2", seed=1)
    here.clock.at = NOW + 30 * DAY_S
    here.send(here.order(other, now=here.clock.now()))
    assert "expired" in only_runs(here, running, here.loop())


def test_bytes_swapped_behind_a_true_listing_are_refused_and_not_kept(here: Plant) -> None:
    running, other, evil = here.deploy("1"), here.release("2", seed=1), here.release("3", seed=2)
    targets = here.registry.tuf_folder / "targets"
    data = (targets / bundle_target(evil.digest)).read_bytes()
    assert hashlib.sha256(data).hexdigest() == evil.digest and evil.size_bytes == other.size_bytes
    here.server.substitutes[other.digest] = data
    here.send(here.order(other))
    assert "SHA-256" in only_runs(here, running, here.loop())
    assert not list((here.home / "incoming").iterdir())


def test_the_order_key_alone_cannot_raise_the_release_counter_above_every_bundle(here: Plant) -> None:
    running, next_one = here.deploy("1"), here.release("2", seed=1)
    here.send(here.order(running, "evil", release_counter=1 << 40))
    loop = here.loop()
    assert "release counter 0 is below" in only_runs(here, running, loop, 30)
    assert here.floors().read().release_counter == 0
    here.send(here.order(next_one))
    assert here.settle(loop).bundle == next_one.digest
