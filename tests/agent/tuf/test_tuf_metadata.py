"""tuf-conformance's cases about single metadata files, against our client; `test_conformance_table.py` lists them all."""

from __future__ import annotations

import json

import pytest
from repository import BUNDLE, DAY, DIGEST, NOW, Repository, Station, at, sign, signer, versions

from agent.update.floors import Floors
from contract.errors import BadBundle, InvalidConfig, NotFound, PlumblineError, StorageFull, TransientError


def test_a_first_refresh_asks_for_each_role_once_and_keeps_what_was_served(repo: Repository, station: Station) -> None:
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)
    assert repo.asked == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ]
    kept = {path.name: path.read_bytes() for path in station.cache.glob("*.json")}
    assert kept == {
        f"{role}.json": repo.files[repo.path(role)] for role in ("timestamp", "snapshot", "targets")
    }  # the bytes served, not another serialisation of them


def test_a_second_refresh_of_the_same_repository_fetches_only_what_may_have_changed(
    repo: Repository, station: Station
) -> None:
    station.refresh(repo)
    repo.asked.clear()
    before = station.files()
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)
    assert repo.asked == ["metadata/2.root.json", "metadata/timestamp.json"] and station.files() == before


def test_a_look_up_refreshes_first(repo: Repository, station: Station) -> None:
    client = station.client(repo)
    assert client.look_up(DIGEST, NOW)[0] == 1000
    repo.list_target("deltas/a-b.pld", "ee" * 32, 7, {"from": "a"})
    repo.everything()
    found, seen = client.look_up_targets((BUNDLE, "deltas/a-b.pld", "deltas/none.pld"), NOW)
    assert sorted(found) == [BUNDLE, "deltas/a-b.pld"] and versions(seen) == (1, 2, 2, 2)
    delta = found["deltas/a-b.pld"]
    assert (delta.digest, delta.size_bytes, delta.custom) == ("ee" * 32, 7, {"from": "a"})
    assert found[BUNDLE].custom == {"manifest": "cd" * 32}


def test_what_is_not_listed_is_not_found(repo: Repository, station: Station) -> None:
    with pytest.raises(NotFound, match="lists no"):
        station.client(repo).look_up("ef" * 32, NOW)


@pytest.mark.parametrize(
    ("digest", "custom", "word"),
    [("ef" * 32, None, "another hash"), ("AB" * 32, None, "SHA-256"), ("..", None, "SHA-256"), (DIGEST, [1], "object")],
)
def test_a_bundle_that_is_listed_as_something_else_is_refused(
    repo: Repository, station: Station, digest: str, custom: object, word: str
) -> None:
    repo.list_target(BUNDLE, digest, 1000, custom)
    repo.everything()
    with pytest.raises(BadBundle, match=word):
        station.client(repo).look_up(DIGEST, NOW)


def test_a_target_with_an_unknown_hash_only_is_refused(repo: Repository, station: Station) -> None:
    repo.targets.targets[BUNDLE].hashes = {"sha42": "00"}
    repo.everything()
    with pytest.raises(BadBundle, match="SHA-256"):
        station.client(repo).look_up(DIGEST, NOW)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_role_that_is_not_signed_by_its_key_is_refused(repo: Repository, station: Station, role: str) -> None:
    station.refresh(repo)
    before = station.cached()
    repo.signers[role] = [signer(77)]
    repo.publish(role)
    repo.publish(*{"targets": ("snapshot", "timestamp"), "snapshot": ("timestamp",)}.get(role, ()))
    with pytest.raises(BadBundle, match=r"signed by 0"):
        station.refresh(repo)
    assert station.cached()[role] == before[role]


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_a_file_whose_version_is_not_the_one_it_is_named_by_is_refused(
    repo: Repository, station: Station, role: str
) -> None:
    station.refresh(repo)
    repo.publish(role)
    path = repo.path(role)
    repo.publish(*{"targets": ("snapshot", "timestamp"), "snapshot": ("timestamp",)}.get(role, ()))
    repo.signed(role).version += 1
    repo.files[path] = sign(repo.signed(role), repo.signers[role])
    with pytest.raises(BadBundle, match=r"version|v2"):
        station.refresh(repo)
    assert station.cached()[role] == 1


def test_a_timestamp_changed_without_a_new_version_is_not_taken(repo: Repository, station: Station) -> None:
    station.refresh(repo)
    before = station.files()
    repo.publish("snapshot")
    repo.serve("timestamp")
    assert versions(station.refresh(repo)) == (1, 1, 1, 1) and station.files() == before


def test_hashes_of_metadata_are_followed(repo: Repository, station: Station) -> None:
    repo.hashes = True
    repo.everything()
    assert versions(station.refresh(repo)) == (1, 2, 2, 2)


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_metadata_with_other_bytes_than_were_hashed_is_refused(repo: Repository, station: Station, role: str) -> None:
    repo.hashes = True
    repo.everything()
    served = repo.files[repo.path(role)]
    turned = json.dumps(dict(reversed(json.loads(served).items())), separators=(",", ":")).encode()
    assert turned != served and len(turned) == len(served)
    for other in (turned, served + b" "):  # both still well signed
        repo.files[repo.path(role)] = other
        with pytest.raises(BadBundle, match=r"hash|longer"):
            station.refresh(repo)
        assert role not in station.cached()


def test_metadata_of_another_length_than_was_signed_is_refused(repo: Repository, station: Station) -> None:
    repo.publish("snapshot")
    repo.timestamp.snapshot_meta.length = len(repo.files[repo.path("snapshot")]) + 1
    repo.publish("timestamp")
    with pytest.raises(BadBundle, match="length"):
        station.refresh(repo)


def test_unknown_fields_and_misleading_ones_are_carried_and_ignored(repo: Repository, station: Station) -> None:
    for role in ("root", "targets", "snapshot", "timestamp"):
        repo.signed(role).unrecognized_fields["x-note"] = {"deep": [1, {"er": None}]}
    repo.publish("root", "targets", "snapshot", "timestamp")
    repo.change_and_sign(
        "root", lambda signed: [key.update(keyid_hash_algorithms=["md5"]) for key in signed["keys"].values()]
    )
    assert versions(station.refresh(repo)) == (2, 2, 2, 2)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_that_is_missing_stops_the_refresh(repo: Repository, station: Station, role: str) -> None:
    station.refresh(repo)
    repo.everything()
    del repo.files[repo.path(role)]
    with pytest.raises(NotFound, match="404"):
        station.refresh(repo)
    assert station.cached()["targets"] == 1


@pytest.mark.parametrize(
    ("served", "named"), [("timestamp", "snapshot"), ("snapshot", "timestamp"), ("targets", "snapshot")]
)
def test_a_role_in_the_place_of_another_is_refused(repo: Repository, station: Station, served: str, named: str) -> None:
    for keys in repo.signers.values():
        keys.append(signer(50))  # signed for both, so that only the type is wrong
    for role in ("snapshot", "timestamp", "targets"):
        repo.root.add_key(signer(50).public_key, role)
    repo.publish("root", "targets", "snapshot", "timestamp")
    repo.files[repo.path(named)] = repo.files[repo.path(served)]
    with pytest.raises(BadBundle, match="Expected"):
        station.refresh(repo)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_expired_metadata_is_refused_and_mends_when_it_is_signed_again(
    repo: Repository, station: Station, role: str
) -> None:
    station.refresh(repo)
    kept = repo.signed(role).expires
    repo.signed(role).expires = at(NOW - 5 * DAY)
    repo.publish("root", "targets", "snapshot", "timestamp")
    with pytest.raises(TransientError, match="expired") as caught:
        station.refresh(repo)
    assert not isinstance(caught.value, NotFound) and "clock" in caught.value.hint
    assert station.cached()["root"] == 2 and station.cached()["targets"] == 1
    repo.signed(role).expires = kept
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert versions(station.refresh(repo)) == (3, 3, 3, 3)


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_a_station_that_was_off_until_its_metadata_expired_comes_back(
    repo: Repository, station: Station, role: str
) -> None:
    repo.signed(role).expires = at(NOW + 7 * DAY)
    repo.publish("root", "targets", "snapshot", "timestamp")
    station.refresh(repo)
    repo.signed(role).expires = at(NOW + 21 * DAY)
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert versions(station.refresh(repo, NOW + 18 * DAY)) == (3, 3, 3, 3)


def test_a_local_timestamp_that_expired_still_stops_an_older_one(repo: Repository, station: Station) -> None:
    older = dict(repo.files)
    repo.timestamp.expires = at(NOW + 7 * DAY)
    repo.everything()
    station.refresh(repo)
    repo.files = older
    with pytest.raises(BadBundle, match="must be >= 2"):
        station.refresh(repo, NOW + 18 * DAY)


def test_a_pinned_root_that_is_not_signed_or_not_whole_is_refused_before_anything_is_asked(
    repo: Repository, station: Station
) -> None:
    document = json.loads(repo.pinned())
    for spoil in (
        lambda d: d["signatures"][0].update(sig="00" * 64),
        lambda d: d["signatures"].clear(),
        lambda d: d["signed"].pop("roles"),
        lambda d: d["signed"].update(version=7),
    ):
        spoiled = json.loads(json.dumps(document))
        spoil(spoiled)
        station.root = json.dumps(spoiled).encode()
        with pytest.raises(InvalidConfig):
            station.client(repo)
    assert not repo.asked


def test_without_consistent_snapshots_plain_names_are_asked_for(repo: Repository, station: Station) -> None:
    repo.root.consistent_snapshot = False
    repo.publish("root", "targets", "snapshot", "timestamp")
    repo.asked.clear()
    assert versions(station.refresh(repo)) == (2, 2, 2, 2)
    assert repo.asked[-3:] == ["metadata/timestamp.json", "metadata/snapshot.json", "metadata/targets.json"]


def test_nothing_is_written_outside_the_cache(
    repo: Repository, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(station.home / "nowhere"))
    monkeypatch.setattr("tempfile.tempdir", None)
    repo.files["metadata/2.root.json"] = b"x" * 1000
    with pytest.raises(PlumblineError):
        station.refresh(repo)
    del repo.files["metadata/2.root.json"]
    station.refresh(repo)
    assert {name.partition("/")[0] for name in station.files()} == {"tuf", "floors"}
    assert {path.name for path in station.home.parent.iterdir()} == {station.home.name}


def test_a_cache_that_cannot_be_written_is_said_so_and_waited_for(repo: Repository, station: Station) -> None:
    station.home.mkdir()
    station.cache.write_bytes(b"a file in the way")
    with pytest.raises(StorageFull, match="cannot be written"):
        station.refresh(repo)
    assert station.floors.read() == Floors()
    station.cache.unlink()
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)
