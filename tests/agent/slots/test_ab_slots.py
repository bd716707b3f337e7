from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from update_plant import NOW, PROBATION, STATION, bundle_content

from agent.slots.ab_slots import MAX_SLOTS, Slots
from agent.slots.disk import Disk
from agent.slots.floors_file import FloorsFile
from agent.slots.unpacked import open_archive, open_folder
from agent.update.floors import Floors
from cloud.registry.bundle import build_bundle
from contract.errors import BadBundle, NotFound, StorageFull, TransientError
from contract.messages import Order


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("archives")
    return [build_bundle(bundle_content(folder, str(n), seed=n), folder / f"{n}.plb", NOW) for n in range(4)]


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    yield Slots(tmp_path / "bundles")


def order(digest: str, seq: int = 1) -> Order:
    return Order(STATION, digest, 1, f"roll-{seq}", seq, 0, NOW, NOW + 1, PROBATION)


def commit(slots: Slots, archive: tuple[Path, str], seq: int) -> None:
    slots.install(*archive)
    slots.begin_try(order(archive[1], seq))
    slots.commit(order(archive[1], seq))
    slots.collect_garbage()


def test_nothing_boots_on_an_empty_disk(slots: Slots) -> None:
    assert slots.boot_bundle() is None and slots.committed() is None and slots.trial() is None and slots.last() is None


def test_installed_but_uncommitted_bundle_does_not_boot(slots: Slots, archives: list[tuple[Path, str]]) -> None:
    slots.install(*archives[0])
    slots.begin_try(order(archives[0][1]))
    assert slots.boot_bundle() is None and slots.trial() is not None


def test_archive_with_another_digest_is_refused_and_leaves_nothing(
    slots: Slots, archives: list[tuple[Path, str]], tmp_path: Path
) -> None:
    with pytest.raises(BadBundle, match="SHA-256"):
        slots.install(archives[0][0], archives[1][1])
    assert not list((tmp_path / "bundles" / "slots").iterdir())


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden.npz"])
def test_rotten_slot_falls_back_to_the_bundle_before_it(
    slots: Slots, archives: list[tuple[Path, str]], tmp_path: Path, name: str
) -> None:
    commit(slots, archives[0], 1)
    commit(slots, archives[1], 2)
    file = tmp_path / "bundles" / "slots" / archives[1][1] / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    booted = slots.boot_bundle()
    assert booted is not None and booted.digest == archives[0][1]
    slots.collect_garbage()
    assert slots.boot_bundle() is not None


def test_garbage_never_takes_the_last_committed_bundle_or_the_trial(
    slots: Slots, archives: list[tuple[Path, str]], tmp_path: Path
) -> None:
    for n in range(3):
        commit(slots, archives[n], n + 1)
    slots.install(*archives[3])
    slots.begin_try(order(archives[3][1], 9))
    (tmp_path / "bundles" / "slots" / "half.tmp").mkdir()
    slots.collect_garbage()
    kept = {path.name for path in (tmp_path / "bundles" / "slots").iterdir()}
    assert kept == {archives[n][1] for n in (1, 2, 3)} and len(kept) == MAX_SLOTS


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_torn_or_rotten_small_file_still_boots_a_committed_bundle(
    archives: list[tuple[Path, str]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("slots")
    slots = Slots(folder)
    commit(slots, archives[0], 1)
    commit(slots, archives[1], 2)
    marks = [folder / "committed" / archives[n][1] for n in (0, 1)]
    for path in (folder / "state", data.draw(st.sampled_from(marks))):
        content = path.read_bytes()
        cut = content[: data.draw(st.integers(0, len(content) - 1))]
        path.write_bytes(data.draw(st.sampled_from([cut, cut + b"\0" * 9, b""])))
    booted = Slots(folder).boot_bundle()
    assert booted is not None and booted.digest in {archives[0][1], archives[1][1]}


def test_tries_count_up_for_one_order_and_start_anew_for_another(slots: Slots) -> None:
    first, second = order("ab" * 32, 1), order("cd" * 32, 2)
    assert [slots.begin_try(first), slots.begin_try(first), slots.begin_try(second)] == [1, 2, 1]


def test_provisioned_bundle_is_committed_once_and_never_undoes_an_update(
    slots: Slots, archives: list[tuple[Path, str]]
) -> None:
    assert slots.install_local(archives[0][0]).digest == archives[0][1]
    commit(slots, archives[1], 1)
    commit(slots, archives[2], 2)
    assert slots.install_local(archives[0][0]).digest == archives[2][1]
    assert slots.install_local(archives[3][0]).digest == archives[3][1], "another archive is a person's choice"
    with pytest.raises(NotFound):
        slots.install_local(Path("/nowhere.plb"))


def test_preflight_says_what_is_missing(tmp_path: Path) -> None:
    class Small(Disk):
        def free_bytes(self, folder: Path) -> int:
            return 10 << 20

    slots = Slots(tmp_path, disk=Small())
    slots.preflight(1 << 20)
    with pytest.raises(StorageFull, match="needs 12 MiB"):
        slots.preflight(2 << 20)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, TransientError)])
def test_disk_errors_say_whether_room_is_the_matter(
    archives: list[tuple[Path, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
) -> None:
    slots = Slots(tmp_path)

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind):
        slots.install(*archives[0])
    monkeypatch.undo()
    assert slots.install(*archives[0]).digest == archives[0][1]


def test_opening_an_archive_writes_exactly_its_files(archives: list[tuple[Path, str]], tmp_path: Path) -> None:
    bundle = open_archive(archives[0][0], tmp_path / "into")
    assert bundle.digest == archives[0][1] == open_folder(tmp_path / "into").digest
    assert {path.name for path in (tmp_path / "into").iterdir()} == {"manifest.json", "model.onnx", "golden.npz"}


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.plb").write_text("hello")
    with pytest.raises(BadBundle):
        open_archive(tmp_path / "text.plb", tmp_path / "into")
    with pytest.raises(BadBundle, match="cannot be read"):
        open_archive(tmp_path, tmp_path / "into")
    with pytest.raises(NotFound, match="no bundle"):
        open_archive(tmp_path / "none.plb", tmp_path / "into")
    with pytest.raises(NotFound, match=r"manifest\.json"):
        open_folder(tmp_path)


@pytest.mark.parametrize("lost", [["floors.a"], ["floors.b"], ["floors.a", "floors.b"]])
@pytest.mark.parametrize("damage", [b"", b"00000000\n{}\n"])
def test_floors_need_one_of_their_two_copies(tmp_path: Path, lost: list[str], damage: bytes) -> None:
    floors = Floors(desired_seq=7, timestamp=3)
    FloorsFile(tmp_path).write(Floors(desired_seq=6))
    FloorsFile(tmp_path).write(floors)
    for name in lost:
        (tmp_path / name).write_bytes(damage)
    assert FloorsFile(tmp_path).read() == (Floors() if len(lost) == 2 else floors)
