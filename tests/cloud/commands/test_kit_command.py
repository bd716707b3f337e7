"""`plumbline-cloud kit make`: what is in a kit, and that making one deploys nothing."""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "agent"))
from kit_plant import STATION, KitPlant, kit_plant

from cloud.ports.rollouts import StandingOrder
from cloud.registry.catalog import ReleaseState
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.release import Registry
from cloud.rollout.rollout_states import MemberEvent
from cloud.store.audit import AuditLog
from cloud.store.database import Database
from cloud.store.rollouts import Rollouts
from contract.codec import decode_control
from contract.errors import TransientError
from contract.messages import DesiredState
from contract.signature import verify_order


@pytest.fixture
def plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> KitPlant:
    plant = kit_plant(tmp_path, capsys)
    plant.release("v1")
    return plant


def order_of(kit: Path, plant: KitPlant, station: str = STATION):
    desired = decode_control((kit / "orders" / f"{station}.json").read_bytes(), DesiredState)
    assert desired.station == station
    return verify_order(desired.envelope, [load_keys(plant.home / "keys").order_key()])


def test_a_kit_holds_a_signed_order_metadata_that_lives_as_long_and_the_bundle(plant: KitPlant, tmp_path: Path) -> None:
    released = Registry(plant.home / "registry").catalog.get("v1")
    kit = plant.make(tmp_path / "kit", "v1", "--days", 60)
    order = order_of(kit, plant)
    assert (order.bundle, order.size_bytes, order.desired_seq) == (released.digest, released.size_bytes, 1)
    assert order.expires_at == pytest.approx(time.time() + 60 * 86_400, abs=100)
    expiries = {path.name: json.loads(path.read_bytes())["signed"]["expires"] for path in (kit / "metadata").iterdir()}
    assert set(expiries) >= {"1.root.json", "timestamp.json"}
    ends = time.gmtime(time.time() + 59 * 86_400)
    assert all(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ") > ends for text in expiries.values()), expiries
    assert (kit / "targets" / "bundles" / f"{released.digest}.plb").stat().st_size == released.size_bytes
    assert json.loads((kit / "kit.json").read_bytes())["stations"] == [STATION]


def test_the_published_metadata_is_untouched_and_its_versions_are_the_kits(plant: KitPlant, tmp_path: Path) -> None:
    published = plant.home / "registry" / "tuf" / "metadata"
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    kit = plant.make(tmp_path / "kit", "v1")
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    for name in ("timestamp.json", *(name for name in before if "snapshot" in name)):
        if (kit / "metadata" / name).exists():
            kits = json.loads((kit / "metadata" / name).read_bytes())["signed"]
            assert kits["version"] == json.loads(before[name])["signed"]["version"]


def test_a_kit_can_be_made_after_the_online_keys_were_replaced(plant: KitPlant, tmp_path: Path) -> None:
    code, _, error = plant.cloud("keys", "rotate", "timestamp", "snapshot")
    assert code == 0, error
    newest = json.loads((plant.home / "registry/tuf/metadata/2.root.json").read_bytes())["signed"]["roles"]
    kit = plant.make(tmp_path / "kit", "v1")
    for file in (kit / "metadata").glob("*.json"):
        role = file.name.removesuffix(".json").rpartition(".")[2]
        if role in ("timestamp", "snapshot"):
            signers = {each["keyid"] for each in json.loads(file.read_bytes())["signatures"]}
            assert signers == set(newest[role]["keyids"]), file.name


def test_a_plk_file_is_a_tar_of_the_same_files(plant: KitPlant, tmp_path: Path) -> None:
    plant.make(tmp_path / "kit.plk", "v1")
    with tarfile.open(tmp_path / "kit.plk") as tar:
        names = tar.getnames()
    assert f"orders/{STATION}.json" in names and "metadata/timestamp.json" in names
    assert names[-1].startswith("targets/bundles/")


def test_every_order_has_a_number_of_its_own_and_making_kits_deploys_nothing(plant: KitPlant, tmp_path: Path) -> None:
    assert plant.cloud("station", "add", "other", "--out", tmp_path / "other")[0] == 0
    first = plant.make(tmp_path / "one", "v1", "--all")
    second = plant.make(tmp_path / "two", "v1", "--all")
    seqs = [order_of(kit, plant, station).desired_seq for kit in (first, second) for station in (STATION, "other")]
    assert seqs == [1, 1, 2, 2]
    database = Database(f"sqlite:///{plant.home / 'cloud.db'}")
    rollouts = Rollouts(database)
    assert rollouts.unpublished() == [] and rollouts.next_seq(STATION) == 3
    assert [each.act for each in AuditLog(database).entries()].count("kit") == 4
    database.close()


def test_a_kit_leaves_the_standing_order_as_it_is_and_takes_no_number_that_an_order_has(
    plant: KitPlant, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{plant.home / 'cloud.db'}")
    rollouts = Rollouts(database)
    member = rollouts.members(rollouts.create("v1", "d" * 64, [[STATION]], (), "operator", 1.0))[0]
    signed = StandingOrder(STATION, rollouts.next_seq(STATION), "d" * 64, "an envelope", published=False)
    kit = plant.make(tmp_path / "kit", "v1")  # between the loop's signing and its storing
    with pytest.raises(TransientError, match="taken"):
        rollouts.order(member, MemberEvent.ORDER, signed, "", 1.0)
    again = StandingOrder(STATION, rollouts.next_seq(STATION), "d" * 64, "an envelope", published=False)
    assert again.desired_seq > order_of(kit, plant).desired_seq
    rollouts.order(member, MemberEvent.ORDER, again, "", 1.0)
    plant.make(tmp_path / "kit2", "v1")
    (standing,) = rollouts.unpublished()
    assert standing.envelope == "an envelope"
    rollouts.mark_published(standing)
    assert rollouts.unpublished() == []
    database.close()


def test_what_cannot_be_made_is_said_and_leaves_nothing(plant: KitPlant, tmp_path: Path) -> None:
    out = tmp_path / "kit.plk"
    make = ("kit", "make", "--out", out, "--version")
    for more, why in (
        (("v9", "--all"), "no version 'v9'"),
        (("v1", "--station", "nobody"), "no station 'nobody'"),
        (("v1", "--all", "--days", 0), "--days"),
        (("v1", "--all", "--days", 500), "ends in"),
    ):
        code, _, error = plant.cloud(*make, *more)
        assert code == 1 and why in error and not out.exists(), error
    out.write_text("mine")
    code, _, error = plant.cloud(*make, "v1", "--all")
    assert code == 1 and "there already" in error and out.read_text() == "mine"
    Registry(plant.home / "registry").catalog.set_state("v1", ReleaseState.WITHDRAWN)
    code, _, error = plant.cloud("kit", "make", "--out", tmp_path / "k", "--version", "v1", "--all")
    assert code == 1 and "withdrawn" in error


def test_keys_that_are_not_the_repositorys_make_no_kit(plant: KitPlant, tmp_path: Path) -> None:
    (plant.home / "keys").rename(plant.home / "away")
    init_keys(plant.home / "keys")
    code, _, error = plant.cloud("kit", "make", "--out", tmp_path / "k", "--version", "v1", "--all")
    assert code == 1 and "newest root" in error and not (tmp_path / "k").exists()
