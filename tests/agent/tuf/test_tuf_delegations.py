"""tuf-conformance's cases about delegated roles and odd names, against our client.

Our repository delegates nothing; the client must still be right about one that does, since its targets keys may.
"""

from __future__ import annotations

import pytest
from repository import NOW, Repository, Station, signer

from contract.errors import BadBundle, NotFound

SIZE = {"A": 1, "B": 2, "C": 3, "D": 4, "E": 5}


def delegate(repo: Repository, edges: list[tuple[str, str, list[str], bool]]) -> None:
    """Delegate along `edges`, (parent, child, path patterns, terminating), in their order, and publish everything."""
    for parent, child, paths, terminating in edges:
        repo.delegate(parent, child, paths, terminating=terminating)
    for name in repo.delegated:
        repo.serve(name)
    repo.everything()


def asked_roles(repo: Repository) -> list[str]:
    names = [path.split("/")[1].split(".")[-2] for path in repo.asked]
    return [name for name in names if name not in ("root", "timestamp", "snapshot", "targets")]


@pytest.mark.parametrize(
    ("edges", "order"),
    [
        ([], []),
        ([("targets", "A", ["*"], False)], ["A"]),
        ([("targets", "A", ["*"], False), ("targets", "B", ["*"], False)], ["A", "B"]),
        ([("targets", "A", ["x*"], False), ("targets", "B", ["*"], False)], ["B"]),
        ([("targets", "A", ["*"], True), ("targets", "B", ["*"], False)], ["A"]),
        (
            [("targets", "A", ["*"], False), ("targets", "B", ["*"], False), ("A", "C", ["*"], False)],
            ["A", "C", "B"],
        ),
        (
            [("targets", "A", ["*"], False), ("targets", "B", ["*"], False), ("A", "C", ["*"], True)],
            ["A", "C"],
        ),
        ([("targets", "A", ["*"], False), ("A", "B", ["*"], False), ("B", "A", ["*"], False)], ["A", "B"]),
        ([("targets", "A", ["*"], False), ("A", "A", ["*"], False)], ["A"]),
    ],
)
def test_delegated_roles_are_searched_depth_first_in_order_and_each_once(
    repo: Repository, station: Station, edges: list, order: list[str]
) -> None:
    delegate(repo, edges)
    with pytest.raises(NotFound):
        station.client(repo).look_up_target("nothing", NOW)
    assert asked_roles(repo) == order


def test_the_first_role_that_lists_a_file_wins_and_a_role_outside_its_paths_does_not_count(
    repo: Repository, station: Station
) -> None:
    edges = [
        ("targets", "A", ["deltas/?.pld"], False),
        ("targets", "B", ["*"], False),
        ("targets", "C", ["*/*"], False),
    ]
    for parent, child, paths, terminating in edges:
        repo.delegate(parent, child, paths, terminating=terminating)
    kept = dict(repo.targets.targets)
    for name, targets in repo.delegated.items():
        repo.targets.targets = {}
        repo.list_target("deltas/a.pld", "ee" * 32, SIZE[name])
        repo.list_target("deltas/ab.pld", "ee" * 32, SIZE[name])
        targets.targets = repo.targets.targets
        repo.serve(name)
    repo.targets.targets = kept
    repo.everything()
    found, _ = station.client(repo).look_up_targets(("deltas/a.pld", "deltas/ab.pld"), NOW)
    # "*" does not match a "/" (specification 4.5): B says nothing about either.
    assert (found["deltas/a.pld"].size_bytes, found["deltas/ab.pld"].size_bytes) == (SIZE["A"], SIZE["C"])


@pytest.mark.parametrize(
    "name", ["?", "#", "/delegated", "../delegated", "..", "a\\b", "%2e%2e%2fx", "\N{SNOWMAN}", "a b"]
)
def test_an_unusual_role_name_is_quoted_wherever_it_goes(repo: Repository, station: Station, name: str) -> None:
    delegate(repo, [("targets", name, ["*"], False)])
    with pytest.raises(NotFound, match="lists no"):
        station.client(repo).look_up_target("nothing", NOW)
    assert repo.path(name) in repo.asked
    assert len([path for path in station.cache.rglob("*") if path.is_file()]) == 5  # the four roles and this one
    assert {path.name for path in station.home.iterdir()} == {"tuf", "floors"}
    assert {path.name for path in station.home.parent.iterdir()} == {station.home.name}


@pytest.mark.parametrize("name", ["?", "#", "/absolute", "../up", "bundles/../x", "a\0b", "\N{SNOWMAN}"])
def test_an_unusual_target_name_is_looked_up_as_it_is(repo: Repository, station: Station, name: str) -> None:
    repo.list_target(name, "ee" * 32, 5)
    repo.everything()
    assert station.client(repo).look_up_target(name, NOW)[0].name == name
    with pytest.raises(NotFound):
        station.client(repo).look_up_target(f"{name}2", NOW)


def test_a_delegated_role_that_is_not_in_the_snapshot_is_refused(repo: Repository, station: Station) -> None:
    delegate(repo, [("targets", "A", ["*"], False)])
    del repo.snapshot.meta["A.json"]
    repo.publish("snapshot", "timestamp")
    with pytest.raises(BadBundle, match="snapshot"):
        station.client(repo).look_up_target("nothing", NOW)


def test_a_cached_role_is_verified_against_the_one_that_delegates_to_it_now(repo: Repository, station: Station) -> None:
    # A diamond: A and B both delegate to C, but B names another key for it, so what C lists counts by way of A alone.
    for parent, child in (("targets", "A"), ("targets", "B"), ("A", "C"), ("B", "C")):
        repo.delegate(parent, child, ["*"] if parent == "targets" else ["a*" if parent == "A" else "b*"])
    delegations = repo.delegated["B"].delegations
    assert delegations is not None
    delegations.keys.clear()
    delegations.roles["C"].keyids.clear()
    repo.delegated["B"].add_key(signer(90).public_key, "C")
    kept = dict(repo.targets.targets)
    repo.list_target("a", "ee" * 32)
    repo.list_target("b", "ee" * 32)
    repo.delegated["C"].targets, repo.targets.targets = dict(repo.targets.targets), kept
    for name in repo.delegated:
        repo.serve(name)
    repo.everything()
    client = station.client(repo)
    assert client.look_up_target("a", NOW)[0].name == "a"
    with pytest.raises(BadBundle, match="signed by 0/1"):
        client.look_up_target("b", NOW)
    with pytest.raises(BadBundle, match="signed by 0/1"):
        client.look_up_targets(("a", "b"), NOW)


def test_one_key_under_two_ids_does_not_count_twice_for_a_delegated_role(repo: Repository, station: Station) -> None:
    repo.delegate("targets", "A", ["*"])
    assert repo.targets.delegations is not None
    document = signer(100).public_key.to_dict()
    repo.targets.add_key(type(signer(100).public_key).from_dict("feed", document), "A")
    repo.serve("A")
    repo.everything()
    with pytest.raises(BadBundle, match="under two ids"):
        station.refresh(repo)
