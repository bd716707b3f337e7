"""tuf-conformance's cases about going backwards, freezing and mixing, with the cache, and without it by the floors alone."""

from __future__ import annotations

import shutil

import pytest
from repository import DAY, NOW, Repository, Station, sign, signer, versions

from contract.errors import BadBundle, NotFound, TransientError

LOST = pytest.mark.parametrize("lost", [False, True], ids=["cache kept", "cache lost"])


def lose(station: Station) -> None:
    shutil.rmtree(station.cache)


@LOST
def test_a_timestamp_that_goes_backwards_is_refused(repo: Repository, station: Station, lost: bool) -> None:
    older = repo.files["metadata/timestamp.json"]
    repo.publish("timestamp")
    station.refresh(repo)
    before = station.files()
    repo.files["metadata/timestamp.json"] = older
    if lost:
        lose(station)
    with pytest.raises(BadBundle, match=r"must be >= 2|went backwards: timestamp version 1 after 2"):
        station.refresh(repo)
    assert station.files() == before or lost


@LOST
@pytest.mark.parametrize("hashes", [False, True])
def test_a_snapshot_that_goes_backwards_is_refused(
    repo: Repository, station: Station, hashes: bool, lost: bool
) -> None:
    repo.hashes = hashes
    repo.publish("snapshot", "timestamp")
    station.refresh(repo)
    if lost:
        lose(station)
    repo.snapshot.version = 0
    repo.publish("snapshot", "timestamp")
    with pytest.raises(BadBundle, match=r"must be >= 2|snapshot version 1 after 2"):
        station.refresh(repo)


@LOST
@pytest.mark.parametrize("hashes", [False, True])
def test_targets_that_go_backwards_are_refused(repo: Repository, station: Station, hashes: bool, lost: bool) -> None:
    repo.hashes = hashes
    repo.everything()
    station.refresh(repo)
    if lost:
        lose(station)
    repo.targets.version = 0
    repo.everything()
    with pytest.raises(BadBundle, match=r"Expected targets|targets version 1 after 2"):
        station.refresh(repo)
    assert lost or station.cached()["targets"] == 2


@LOST
def test_a_root_that_is_hidden_again_is_refused(repo: Repository, station: Station, lost: bool) -> None:
    older = dict(repo.files)
    repo.keys("timestamp", [33], 1)
    repo.publish("root", "timestamp")
    station.refresh(repo)
    if lost:
        lose(station)
    repo.files, whole = older, repo.files
    with pytest.raises(BadBundle, match=r"signed by 0/1|root version 1 after 2"):
        station.refresh(repo)
    repo.files = whole
    assert versions(station.refresh(repo)) == (2, 2, 1, 1)


def test_a_root_seen_in_a_refresh_that_failed_is_a_floor_all_the_same(repo: Repository, station: Station) -> None:
    older = dict(repo.files)
    repo.keys("timestamp", [33], 1)
    repo.publish("root")
    del repo.files["metadata/timestamp.json"]
    with pytest.raises(NotFound):
        station.refresh(repo)
    lose(station)
    repo.files = older
    with pytest.raises(BadBundle, match="root version 1 after 2"):
        station.refresh(repo)


def test_a_role_that_vanishes_from_the_snapshot_is_refused(repo: Repository, station: Station) -> None:
    repo.delegate("targets", "delegated", ["deltas/*"])
    repo.serve("delegated")
    repo.everything()
    station.refresh(repo)
    del repo.snapshot.meta["delegated.json"]
    repo.publish("snapshot", "timestamp")
    with pytest.raises(BadBundle, match="missing info"):
        station.refresh(repo)
    assert station.cached()["snapshot"] == 2


def test_a_frozen_repository_is_refused_once_it_expires_and_not_before(repo: Repository, station: Station) -> None:
    station.refresh(repo)
    station.refresh(repo, NOW + 29 * DAY)
    with pytest.raises(TransientError, match="expired"):
        station.refresh(repo, NOW + 31 * DAY)


@pytest.mark.parametrize("part", ["timestamp", "snapshot", "targets"])
def test_a_part_of_an_older_state_beside_newer_ones_is_refused(repo: Repository, station: Station, part: str) -> None:
    older = {role: repo.files[repo.path(role)] for role in ("timestamp", "snapshot", "targets")}
    station.refresh(repo)
    repo.everything()
    repo.files[repo.path(part)] = older[part]
    if part == "timestamp":  # a station that has the older state sees nothing new in it
        assert versions(station.refresh(repo)) == (1, 1, 1, 1)
        return
    with pytest.raises(BadBundle, match=r"version|v2"):
        station.refresh(repo)


@LOST
@pytest.mark.parametrize("roles", [("timestamp",), ("snapshot", "timestamp"), ("targets", "snapshot", "timestamp")])
def test_versions_run_far_ahead_by_stolen_keys_start_anew_under_new_ones(
    repo: Repository, station: Station, roles: tuple[str, ...], lost: bool
) -> None:
    for role in roles:
        repo.signed(role).version = 2**31
    repo.everything()
    station.refresh(repo)
    for role in roles:
        repo.signed(role).version = 1
    repo.everything()
    with pytest.raises(BadBundle):
        station.refresh(repo)
    if lost:
        lose(station)
    repo.keys("timestamp", [41], 1)
    repo.keys("snapshot", [42], 1)
    repo.publish("root", "targets", "snapshot", "timestamp")
    seen = station.refresh(repo)
    assert all(getattr(seen, role) < 9 for role in roles)
    assert all(getattr(station.floors.read(), role) < 9 for role in roles)


def test_targets_start_anew_when_only_the_snapshot_key_is_new(repo: Repository, station: Station) -> None:
    repo.targets.version = 99
    repo.delegate("targets", "delegated", ["deltas/*"])
    repo.serve("delegated")
    repo.everything()
    assert station.refresh(repo).targets == 100
    repo.keys("snapshot", [42], 1)
    repo.targets.version = 1
    del repo.snapshot.meta["delegated.json"]
    repo.targets.delegations = None
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert station.refresh(repo).targets == 2


@pytest.mark.parametrize("threshold", [1, 2])
def test_a_key_that_is_only_added_does_not_let_an_older_state_in(
    repo: Repository, station: Station, threshold: int
) -> None:
    # With the cache lost and every new set of keys taken for a rotation, the old timestamp would pass under the old key.
    older = dict(repo.files)
    repo.everything()
    repo.everything()
    station.refresh(repo)
    lose(station)
    repo.keys("timestamp", [3, 43], 1)
    repo.publish("root", "timestamp")
    repo.files |= {path: data for path, data in older.items() if not path.endswith("root.json")}
    with pytest.raises(BadBundle, match="timestamp version 1 after 3"):
        station.refresh(repo)
    if threshold == 2:  # now the old key alone signs nothing any more: what it signed is revoked
        repo.keys("timestamp", [3, 43], 2)
        repo.timestamp.version = 0
        repo.publish("root", "timestamp")
        assert station.refresh(repo).timestamp == 1


def test_a_refused_repository_leaves_the_cache_as_it_was_and_the_true_one_is_taken_again(
    repo: Repository, station: Station
) -> None:
    older = dict(repo.files)
    for _ in range(3):
        repo.everything()
    station.refresh(repo)
    whole, repo.files = repo.files, older
    for name in ("timestamp.json", "snapshot.json"):
        (station.cache / name).write_bytes(b'{"signed"')
    before = station.files()
    with pytest.raises(BadBundle, match="went backwards"):
        station.refresh(repo)
    assert station.files() == before
    repo.files = whole
    assert versions(station.refresh(repo)) == (1, 4, 4, 4)


def test_a_thief_of_the_online_keys_cannot_hide_the_rotation_that_revoked_them(
    repo: Repository, station: Station
) -> None:
    stolen = {role: list(repo.signers[role]) for role in ("snapshot", "timestamp")}
    repo.keys("timestamp", [51], 1)
    repo.keys("snapshot", [52], 1)
    repo.publish("root", "targets", "snapshot", "timestamp")
    station.refresh(repo)
    true = dict(repo.files)
    del repo.files["metadata/2.root.json"]
    repo.snapshot.version = repo.timestamp.version = 1000
    for role in ("snapshot", "timestamp"):
        repo.signers[role] = stolen[role]
        repo.serve(role)
    for lost in (False, True):
        if lost:
            lose(station)
        with pytest.raises(BadBundle, match=r"signed by 0/1|root version 1 after 2"):
            station.refresh(repo)
    repo.files = true
    assert versions(station.refresh(repo)) == (2, 2, 2, 2)


def test_a_root_by_a_stranger_is_never_taken(repo: Repository, station: Station) -> None:
    repo.root.version = 2
    for role in ("root", "targets", "snapshot", "timestamp"):
        repo.signers[role] = [signer(60)]
    repo.files["metadata/2.root.json"] = sign(repo.root, repo.signers["root"])
    with pytest.raises(BadBundle, match="signed by 0/1"):
        station.refresh(repo)
