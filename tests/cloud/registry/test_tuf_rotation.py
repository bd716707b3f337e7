"""Keys are replaced; python-tuf's client follows from root 1, and a client that was away follows too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from agent.update.floors import Floors, raise_repository
from cloud.registry.keys import TUF_ROLES, load_keys
from cloud.registry.release import publish_pending
from cloud.registry.rotation import rotate_roles
from contract.errors import InvalidConfig, NotFound, RefusedError
from tests.cloud.registry.tuf_plant import DAY, NOW, Client, TufPlant, tuf_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TufPlant]:
    """One key a role, all in one folder."""
    with tuf_plant(tmp_path) as here:
        yield here


@pytest.fixture
def split(tmp_path: Path) -> Iterator[TufPlant]:
    """Root and targets 2 of 3 on three sticks."""
    with tuf_plant(tmp_path, root=(3, 2), targets=(3, 2), sticks=3) as here:
        yield here


def rotate(here: TufPlant, *roles: str, keys=None, **more) -> bool:
    return rotate_roles(here.registry, keys or here.everyone(), dict.fromkeys(roles), here.now, **more).published


@pytest.mark.parametrize("role", TUF_ROLES)
def test_a_role_gets_a_new_key_and_every_client_follows(plant: TufPlant, role: str) -> None:
    pinned = plant.registry.tuf(plant.keys()).root()
    released, known = plant.release("v1", plant.keys()), plant.client(pinned)
    assert known.sees(released.digest)
    before = plant.registry.tuf(plant.keys()).roots()[-1].roles[role].keyids
    assert rotate(plant, role)
    after = plant.registry.tuf(plant.keys()).roots()[-1].roles[role].keyids
    assert len(after) == 1 and not set(before) & set(after)
    (plant.online / f"{role}.pem").unlink()
    for client in (known, plant.client(pinned), plant.client(plant.registry.tuf(plant.keys()).root())):
        assert client.sees(released.digest) and client.root() == 2
    other = plant.release("v2", plant.keys())
    plant.registry.tuf(plant.keys()).refresh_online(NOW + 10 * DAY)
    assert known.sees(other.digest, NOW + 10 * DAY), "the new key alone goes on"


def test_a_client_at_root_1_walks_up_five_roots_of_new_root_keys(plant: TufPlant) -> None:
    first = plant.registry.tuf(plant.keys()).root()
    sleeper = plant.client(first)
    assert sleeper.root() == 1
    for number in range(2, 7):
        assert rotate(plant, "root")
        assert plant.client(first).root() == number
    metadata = plant.registry.tuf_folder / "metadata"
    assert [path.name for path in sorted(metadata.glob("*.root.json"))] == [f"{n}.root.json" for n in range(1, 7)]
    assert sleeper.root() == 6
    (metadata / "4.root.json").rename(metadata / "4.gone")
    assert plant.client(first).refresh()._trusted_set.root.version == 3, "the chain is what a client walks"


def test_a_new_root_is_signed_by_the_old_threshold_and_the_new_one(split: TufPlant) -> None:
    server = split.keys()
    out = [split.folder / name for name in ("new-1", "new-2")]
    rotated = rotate_roles(split.registry, server, {"root": (2, 2)}, NOW, out=out)
    assert not rotated.published and [key.folder for key in rotated.made] == out
    repository = split.registry.tuf(server)
    (request,) = repository.pending()
    for stick in split.sticks[:1]:
        request = split.sign_elsewhere(request, stick)
    with pytest.raises(RefusedError, match=r"1 of 2 signatures by the keys of root 1"):
        publish_pending(split.registry, server, [request], NOW)
    client = split.client(repository.root())
    assert client.root() == 1
    (request,) = repository.pending()
    publish_pending(split.registry, server, [split.sign_elsewhere(request, split.sticks[1])], NOW)
    assert client.root() == 2 and repository.roots()[-1].roles["root"].threshold == 2


def test_the_old_keys_alone_do_not_make_a_root_that_clients_take(split: TufPlant) -> None:
    rotate_roles(split.registry, split.keys(), {"root": (2, 2)}, NOW, out=[split.folder / "new"])
    repository = split.registry.tuf(split.keys())
    (request,) = repository.pending()
    new_keyids = set(request.metadata.signed.roles["root"].keyids)
    for keyid in new_keyids:
        request.metadata.signatures.pop(keyid, None)
    for stick in split.sticks:
        request = split.sign_elsewhere(request, stick)
    client = split.client(repository.root())
    request.metadata.to_file(str(split.registry.tuf_folder / "metadata" / "2.root.json"))
    with pytest.raises(RepositoryError, match="0/2"):
        client.refresh()


def test_targets_change_hands_while_a_release_waits_and_nothing_is_lost(split: TufPlant) -> None:
    server = split.keys()
    staged = split.release("v1", server)
    out = [split.folder / "new"]
    assert not rotate_roles(split.registry, server, {"targets": (1, 1)}, NOW, out=out).published
    repository = split.registry.tuf(server)
    client = split.client(repository.root())
    another = split.release("v2", server)
    assert [each.role for each in repository.pending()] == ["root", "targets"]
    for stick in (*split.sticks[:2], *out):
        copies = []
        for each in repository.pending():
            try:
                copies.append(split.sign_elsewhere(each, stick))
            except AssertionError:
                assert each.role == "root" and stick == out[0]
        try:
            publish_pending(split.registry, server, copies, NOW)
        except RefusedError:
            assert stick != out[0] and not client.sees(staged.digest)
    assert client.root() == 2 and client.sees(staged.digest) and client.sees(another.digest)
    assert split.release("v3", split.keys(*out)).state.value == "released"


def test_a_second_root_is_not_made_while_one_waits(split: TufPlant) -> None:
    assert not rotate(split, "timestamp", keys=split.keys())
    made = sorted(split.online.glob("timestamp*.pem"))
    with pytest.raises(RefusedError, match="root 2 waits for signatures already"):
        rotate(split, "snapshot", keys=split.keys())
    split.registry.tuf(split.keys()).drop_pending()
    assert not rotate(split, "timestamp", keys=split.keys())
    assert sorted(split.online.glob("timestamp*.pem")) == made, "the key that came to nothing is taken again"
    assert split.client(split.registry.tuf(split.keys()).root()).root() == 1


def test_a_server_signs_on_while_a_rotation_waits(split: TufPlant) -> None:
    client = split.client(split.registry.tuf(split.keys()).root())
    assert not rotate(split, "timestamp", "snapshot", keys=split.keys())
    later = NOW + 13 * DAY
    assert split.registry.tuf(split.keys()).refresh_online(later)
    assert client.root(later) == 1
    publish_pending(split.registry, split.everyone(), [], later)
    assert client.root(later) == 2
    for name in ("timestamp", "snapshot"):
        (split.online / f"{name}.pem").unlink()
    assert split.registry.tuf(split.keys()).refresh_online(later + 10 * DAY)
    assert client.root(later + 10 * DAY) == 2


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_lost_key_is_replaced_without_it(plant: TufPlant, role: str) -> None:
    client = plant.client(plant.registry.tuf(plant.keys()).root())
    released = plant.release("v1", plant.keys())
    assert client.sees(released.digest)
    (plant.online / f"{role}.pem").unlink()
    if role != "targets":
        with pytest.raises(NotFound, match=f"{role} key {role} .* of root 1") as caught:
            rotate(plant, role)
        assert "--lost" in caught.value.hint
    assert rotate(plant, role, lost_keys=True)
    assert client.sees(released.digest) and client.root() == 2
    assert client.sees(plant.release("v2", plant.keys()).digest)


def test_flags_that_cannot_work_say_why(plant: TufPlant) -> None:
    with pytest.raises(InvalidConfig, match="both online keys"):
        rotate(plant, "timestamp", restart_versions=True)
    with pytest.raises(InvalidConfig, match="lost root keys"):
        rotate(plant, "root", lost_keys=True)
    with pytest.raises(InvalidConfig, match="one key"):
        rotate_roles(plant.registry, plant.keys(), {"snapshot": (2, 2)}, NOW)
    with pytest.raises(InvalidConfig, match="3 of 2"):
        rotate_roles(plant.registry, plant.keys(), {"root": (2, 3)}, NOW)


def test_a_server_that_loaded_its_keys_before_a_rotation_releases_after_it(plant: TufPlant) -> None:
    loaded = plant.keys()
    assert rotate(plant, "targets", "snapshot", "timestamp")
    released = plant.release("v1", loaded)
    assert plant.client(plant.registry.tuf(plant.keys()).root()).sees(released.digest)


FAR = 2**31 - 1


def fast_forward(here: TufPlant) -> None:
    """What a thief of both online keys does: the versions run so far ahead that no honest one is ever newer."""
    keys, metadata = load_keys(here.online), here.registry.tuf_folder / "metadata"
    current = Metadata[Snapshot].from_file(str(max(metadata.glob("*.snapshot.json"))))
    snapshot = Snapshot(FAR, expires=current.signed.expires, meta=current.signed.meta)
    timestamp = Timestamp(FAR, expires=current.signed.expires, snapshot_meta=MetaFile(FAR))
    for name, signed in ((f"{FAR}.snapshot.json", snapshot), ("timestamp.json", timestamp)):
        made = Metadata(signed)
        made.sign(keys.signer(signed.type))
        made.to_file(str(metadata / name))


def versions(client: Client) -> tuple[int, int]:
    trusted = client.refresh()._trusted_set
    return trusted.timestamp.version, trusted.snapshot.version


def test_versions_that_a_thief_ran_ahead_begin_anew_with_new_online_keys(plant: TufPlant) -> None:
    client = plant.client(plant.registry.tuf(plant.keys()).root())
    released = plant.release("v1", plant.keys())
    fast_forward(plant)
    assert versions(client) == (FAR, FAR)
    floors = Floors(root=1, timestamp=FAR, snapshot=FAR, targets=2, online_keys="old")
    assert rotate(plant, "snapshot", "timestamp", restart_versions=True)
    assert versions(client) == (1, 3), "counted on from what no client was ever shown"
    assert client.sees(released.digest)
    from agent.update.floors import RepositoryVersions

    assert raise_repository(floors, RepositoryVersions(2, 1, 3, 2, "new")).timestamp == 1
    assert client.sees(plant.release("v2", plant.keys()).digest)


def test_a_thief_who_only_showed_it_to_stations_is_shaken_off_by_new_keys_alone(plant: TufPlant) -> None:
    client = plant.client(plant.registry.tuf(plant.keys()).root())
    honest = (plant.registry.tuf_folder / "metadata" / "timestamp.json").read_bytes()
    fast_forward(plant)
    assert versions(client) == (FAR, FAR)
    (plant.registry.tuf_folder / "metadata" / "timestamp.json").write_bytes(honest)
    with pytest.raises(RepositoryError):
        client.refresh()
    assert rotate(plant, "snapshot", "timestamp")
    assert versions(client) == (2, 2)
