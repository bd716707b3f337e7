"""Committed bundles that are left again: by a person, by a station that dies with them, by an order to run nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from update_plant import NOW, PROBATION, STATION, bundle_content

from agent.slots.ab_slots import Slots
from agent.slots.boot_count import BootCount
from cloud.registry.bundle import build_bundle
from contract.errors import BadBundle, NotFound
from contract.messages import Order

Archive = tuple[Path, str]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Archive]:
    folder = tmp_path_factory.mktemp("archives")
    counters = (0, 0, 3)
    return [
        build_bundle(bundle_content(folder, str(n), seed=n, release_counter=counter), folder / f"{n}.plb", NOW)
        for n, counter in enumerate(counters)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def order(digest: str, seq: int, release_counter: int = 0) -> Order:
    return Order(STATION, digest, 1, f"roll-{seq}", seq, release_counter, NOW, NOW + 1, PROBATION)


def commit(slots: Slots, archive: Archive, seq: int, release_counter: int = 0) -> Order:
    following = order(archive[1], seq, release_counter)
    slots.install(*archive)
    slots.begin_try(following)
    slots.commit(following)
    slots.collect_garbage()
    return following


def boots(folder: Path) -> list[str]:
    return [bundle.digest for bundle in Slots(folder).boot_bundles()]


def test_stepping_back_boots_the_bundle_before_and_bans_the_one_left(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    left = commit(slots, archives[1], 2)
    assert slots.step_back("the line leader asked for it").digest == archives[0][1]
    assert boots(folder) == [archives[0][1]]
    last = Slots(folder).last()
    assert last is not None and (last.kept, last.order, last.reason) == (False, left, "the line leader asked for it")
    assert (left.bundle, left.deployment) in slots.banned()
    committed = slots.committed()
    assert committed is not None and committed.digest == archives[0][1]
    slots.collect_garbage()
    assert boots(folder) == [archives[0][1]] and not (folder / "slots" / archives[1][1]).exists()


def test_bundle_left_runs_again_under_a_new_deployment(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    commit(slots, archives[1], 2)
    slots.step_back("by hand")
    commit(slots, archives[1], 3)
    assert boots(folder) == [archives[1][1], archives[0][1]]


def test_nothing_to_go_back_to_changes_nothing(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    with pytest.raises(NotFound):
        slots.step_back("by hand")
    commit(slots, archives[0], 1)
    with pytest.raises(NotFound):
        slots.step_back("by hand")
    assert boots(folder) == [archives[0][1]] and not slots.banned()


def test_provisioned_bundle_can_be_left_too(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    assert slots.install_local(archives[1][0]) is not None
    assert slots.step_back("by hand").digest == archives[0][1]
    booted = Slots(folder).install_local(archives[1][0])
    assert booted is not None and booted.digest == archives[0][1], "the next start does not undo it"


def test_order_to_run_nothing_outlasts_restarts_and_a_provisioned_bundle(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    slots.install_local(archives[0][0])
    stop = order("", 1)
    slots.commit(stop)
    assert boots(folder) == [] and Slots(folder).install_local(archives[0][0]) is None
    last = Slots(folder).last()
    assert last is not None and (last.kept, last.order) == (True, stop)
    commit(Slots(folder), archives[1], 2)
    assert boots(folder) == [archives[1][1]], "what was stopped is no fallback"


def test_bundle_below_a_committed_release_counter_is_no_fallback(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    commit(slots, archives[2], 2, release_counter=3)
    assert boots(folder) == [archives[2][1]]
    with pytest.raises(NotFound):
        slots.step_back("by hand")
    model = folder / "slots" / archives[2][1] / "model.onnx"
    model.write_bytes(b"rotten")
    assert boots(folder) == [], "better REVIEW than a bundle that must never run again (P3)"
    with pytest.raises(BadBundle, match="release counter"):
        Slots(folder).install_local(archives[1][0])


def test_deaths_are_counted_in_a_row_for_one_bundle(tmp_path: Path) -> None:
    count = BootCount(tmp_path / "starts")
    assert [count.begin("a", "boot-1") for _ in range(3)] == [0, 1, 2]
    assert BootCount(tmp_path / "starts").begin("a", "boot-1") == 3
    assert count.begin("b", "boot-1") == 0
    assert count.begin("b", "boot-1") == 1
    count.settled()
    count.settled()
    assert count.begin("b", "boot-1") == 0
    (tmp_path / "starts").write_bytes(b"torn")
    assert count.begin("b", "boot-1") == 0


def test_a_reset_of_the_machine_counts_a_quarter_and_does_not_wipe_deaths_out(tmp_path: Path) -> None:
    count = BootCount(tmp_path / "starts")
    assert [count.begin("a", f"boot-{n}") for n in range(10)] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert [count.begin("a", "boot-9") for _ in range(2)] == [3, 4]


def test_deaths_of_a_candidate_on_trial_are_the_trials(tmp_path: Path) -> None:
    count = BootCount(tmp_path / "starts")
    assert [count.begin("a", "boot-1", tries) for tries in (0, 1, 2, 3)] == [0, 0, 0, 0]
    # The incumbent itself dies before the candidate is ever loaded.
    assert [count.begin("a", "boot-1", 3) for _ in range(3)] == [1, 2, 3]


def test_a_mark_of_another_name_or_a_torn_one_says_nothing(folder: Path, archives: list[Archive]) -> None:
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    marks = folder / "committed"
    (marks / "nothing").write_bytes((marks / archives[0][1]).read_bytes())
    assert boots(folder) == [archives[0][1]]
    (marks / "nothing").write_bytes(b"00000000\n" + msgspec.json.encode({"digest": "", "number": 9}) + b"\n")
    assert boots(folder) == [archives[0][1]]
