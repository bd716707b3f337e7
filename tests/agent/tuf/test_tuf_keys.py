"""tuf-conformance's cases about keys, thresholds and rotations, against our client."""

from __future__ import annotations

import pytest
from repository import Repository, Station, sign, signer, versions
from securesystemslib.signer import SSlibKey

from contract.errors import BadBundle, InvalidConfig

# (keys, threshold, signing keys) of one root after the other; whether the last one is taken.
ROOTS = {
    "the same keys sign again": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 2, 3, 4], 3, [0, 4, 1])], True),
    "another choice of keys signs": ([([0, 1, 2, 3, 4], 3, [0, 1, 3]), ([0, 1, 2, 3, 4], 3, [2, 3, 4])], True),
    "one key of five is replaced": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])], True),
    "all keys are replaced, with a step between": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]), ([5, 6, 7, 8, 9], 3, [5, 6, 7])],
        True,
    ),
    "the threshold rises": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])], True),
    "the threshold rises with a key": ([([1], 1, [1]), ([1, 2], 2, [1, 2])], True),
    "the threshold falls": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])], True),
    "keys that are not the role's sign too": ([([1], 1, [1]), ([2], 1, [9, 1, 2, 8])], True),
    "the old key did not sign": ([([1], 1, [1]), ([2], 1, [2, 3, 4])], False),
    "the new key did not sign": ([([1], 1, [1]), ([2], 1, [1, 3, 4])], False),
    "too few of the new keys signed": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])], False),
    "too few of the old keys signed": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])], False),
    "the new threshold is not met": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])], False),
    "the old threshold is not met": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])], False),
}


@pytest.mark.parametrize("case", ROOTS)
def test_a_root_is_taken_only_with_the_thresholds_of_the_old_and_the_new_one(
    repo: Repository, station: Station, case: str
) -> None:
    steps, taken = ROOTS[case]
    for number, (keys, threshold, signing) in enumerate(steps, start=1):
        repo.keys("root", keys, threshold, signing)
        repo.root.version = number
        repo.serve("root")
    station.root = repo.pinned()
    if taken:
        assert station.refresh(repo).root == len(steps)
    else:
        with pytest.raises(BadBundle, match="signed by"):
            station.refresh(repo)
    reached = len(steps) if taken else len(steps) - 1
    assert max([1, *(int(path.name.split(".")[0]) for path in station.cache.rglob("*.root.json"))]) == reached
    assert station.floors.read().root == reached  # a newer root is a floor whatever became of the rest


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_role_needs_its_threshold_of_its_own_keys(repo: Repository, station: Station, role: str) -> None:
    cases = [
        ([2], 1, [2], True),
        ([2], 1, [3, 2, 4], True),
        ([2], 1, [1, 3, 4], False),
        ([0, 1, 3, 4, 5], 3, [0, 2, 4], False),
        ([0, 1, 3, 4, 5], 3, [0, 4], False),
        ([0, 1, 2, 3, 4], 3, [1, 2, 3], True),
    ]
    for keys, threshold, signing, taken in cases:
        repo.keys(role, [20 + key for key in keys], threshold, [20 + key for key in signing])
        repo.publish("root", "targets", "snapshot", "timestamp")
        if taken:
            assert getattr(station.refresh(repo), role) == repo.signed(role).version
        else:
            with pytest.raises(BadBundle, match="signed by"):
                station.refresh(repo)


def test_a_role_with_fewer_keys_than_its_threshold_is_never_taken(repo: Repository, station: Station) -> None:
    repo.keys("snapshot", [1, 2], 3)
    repo.publish("root", "snapshot", "timestamp")
    with pytest.raises(BadBundle, match="2/3"):
        station.refresh(repo)


def test_one_signature_listed_twice_counts_once(repo: Repository, station: Station) -> None:
    repo.keys("snapshot", [1, 2], 2, [1])
    repo.publish("root", "snapshot", "timestamp")
    repo.change("snapshot", lambda document: document["signatures"].append(dict(document["signatures"][0])))
    with pytest.raises(BadBundle):
        station.refresh(repo)


def test_signatures_with_one_key_id_twice_are_refused_even_with_the_threshold_met(
    repo: Repository, station: Station
) -> None:
    repo.publish("snapshot", "timestamp")
    repo.change("timestamp", lambda document: document["signatures"].append(dict(document["signatures"][0])))
    with pytest.raises(BadBundle, match="Multiple signatures"):
        station.refresh(repo)


def test_a_key_id_listed_twice_counts_once(repo: Repository, station: Station) -> None:
    repo.keys("snapshot", [1], 2)
    repo.publish("root")
    repo.change_and_sign(
        "root", lambda signed: signed["roles"]["snapshot"]["keyids"].append(signer(1).public_key.keyid)
    )
    repo.publish("snapshot", "timestamp")
    with pytest.raises(BadBundle):
        station.refresh(repo)


def _under_another_id(number: int, keyid: str) -> SSlibKey:
    key = signer(number).public_key
    return SSlibKey(keyid, key.keytype, key.scheme, {"public": key.keyval["public"].upper()})


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_one_key_under_two_ids_does_not_count_twice(repo: Repository, station: Station, role: str) -> None:
    repo.keys(role, [5], 2, [0, 5] if role == "root" else [5])
    repo.root.add_key(_under_another_id(5, "feed"), role)
    repo.publish("root", "targets", "snapshot", "timestamp")

    def twice(document: dict) -> None:
        mine = next(each for each in document["signatures"] if each["keyid"] == signer(5).public_key.keyid)
        document["signatures"].append({"keyid": "feed", "sig": mine["sig"]})

    repo.change(role, twice)
    with pytest.raises(BadBundle, match="under two ids"):
        station.refresh(repo)
    assert not station.cached() and station.floors.read().root == 0


def test_a_pinned_root_with_one_key_under_two_ids_is_refused(repo: Repository, station: Station) -> None:
    repo.root.add_key(_under_another_id(0, "feed"), "root")
    station.root = sign(repo.root, repo.signers["root"])
    with pytest.raises(InvalidConfig, match="under two ids"):
        station.client(repo)


def test_an_invalid_signature_beside_enough_valid_ones_does_no_harm(repo: Repository, station: Station) -> None:
    repo.keys("timestamp", [3, 4], 1, [3, 4])
    repo.publish("root", "timestamp")
    for sig in ("00" * 64, "", "zz", "00"):
        repo.change("timestamp", lambda document, sig=sig: document["signatures"][1].update(sig=sig))
        assert station.refresh(repo).timestamp == 2


@pytest.mark.parametrize(
    ("keytype", "scheme"),
    [("ed25519", "rsassa-pss-sha256"), ("rsa", "ed25519"), ("rsa", "rsassa-pss-sha256"), ("none", "none"), ("", "")],
)
def test_a_key_of_another_type_than_it_says_verifies_nothing(
    repo: Repository, station: Station, keytype: str, scheme: str
) -> None:
    repo.publish("root")
    repo.change_and_sign(
        "root",
        lambda signed: signed["keys"][signer(3).public_key.keyid].update(keytype=keytype, scheme=scheme),
    )
    with pytest.raises(BadBundle):
        station.refresh(repo)
    assert "timestamp" not in station.cached()


def test_roots_are_taken_one_by_one_and_a_gap_ends_the_chain(repo: Repository, station: Station) -> None:
    repo.publish("root")
    repo.publish("root")
    repo.publish("root")
    gap = repo.files.pop("metadata/3.root.json")
    assert station.refresh(repo).root == 2
    repo.files["metadata/3.root.json"] = gap
    assert station.refresh(repo).root == 4


def test_a_root_of_the_wrong_version_or_that_is_none_is_refused(repo: Repository, station: Station) -> None:
    repo.publish("root")
    right = repo.files["metadata/2.root.json"]
    for version in (1, 3):
        repo.root.version = version
        repo.files["metadata/2.root.json"] = sign(repo.root, repo.signers["root"])
        with pytest.raises(BadBundle, match="version"):
            station.refresh(repo)
    repo.files["metadata/2.root.json"] = repo.files["metadata/timestamp.json"]
    with pytest.raises(BadBundle, match="Expected 'root'"):
        station.refresh(repo)
    repo.files["metadata/2.root.json"] = right
    assert versions(station.refresh(repo)) == (2, 1, 1, 1)


def test_an_expired_root_on_the_way_to_a_valid_one_is_passed_through(repo: Repository, station: Station) -> None:
    kept, repo.root.expires = repo.root.expires, repo.root.expires.replace(year=2020)
    repo.publish("root")
    repo.root.expires = kept
    repo.publish("root")
    assert station.refresh(repo).root == 3
