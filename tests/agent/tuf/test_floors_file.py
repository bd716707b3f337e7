"""The floors' two copies: what is lost of them, what mends, and that a disk which will not say is not taken for a new one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slots.disk import Disk
from agent.slots.floors_file import FloorsFile
from agent.update.floors import Floors, RepositoryVersions, name_keys, raise_repository, raise_root
from contract.errors import BadBundle, StorageFull, TransientError

OLD, NEW = Floors(desired_seq=5), Floors(desired_seq=6)


def test_a_copy_that_was_lost_is_there_again_after_the_next_write_of_the_same_floors(tmp_path: Path) -> None:
    FloorsFile(tmp_path).write(NEW)
    (tmp_path / "floors.a").write_bytes(b"torn")
    FloorsFile(tmp_path).write(NEW)
    (tmp_path / "floors.b").unlink()
    assert FloorsFile(tmp_path).read() == NEW


def test_floors_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    FloorsFile(tmp_path).write(NEW)
    before = (tmp_path / "floors.a").stat().st_ino
    FloorsFile(tmp_path).write(NEW)
    assert (tmp_path / "floors.a").stat().st_ino == before


class FullAfter(Disk):
    """A disk with room for so many files and no more."""

    def __init__(self, files: int) -> None:
        self.left = files

    def replace(self, path: Path, data: bytes) -> None:
        if not self.left:
            raise StorageFull("full")
        self.left -= 1
        super().replace(path, data)


@pytest.mark.parametrize("lost", ["", "floors.a", "floors.b"])
@pytest.mark.parametrize("files", [0, 1])
def test_a_write_that_ends_between_the_copies_leaves_the_newest_floors_that_were_whole(
    tmp_path: Path, lost: str, files: int
) -> None:
    FloorsFile(tmp_path).write(OLD)
    if lost:
        (tmp_path / lost).write_bytes(b"torn")
    with pytest.raises(StorageFull):
        FloorsFile(tmp_path, disk=FullAfter(files)).write(NEW)
    assert FloorsFile(tmp_path).read() == (NEW if files else OLD)


@pytest.mark.parametrize("damage", ["a folder", "a loop of links"])
def test_floors_that_cannot_be_read_are_not_forgotten(tmp_path: Path, damage: str) -> None:
    # As with EIO, or a folder that belongs to another user: new floors would let everything old in again.
    FloorsFile(tmp_path).write(NEW)
    spoiled = [tmp_path / "floors.a", tmp_path / "floors.b"]
    kept = spoiled[1].read_bytes()
    for path in spoiled:
        path.unlink()
        path.mkdir() if damage == "a folder" else path.symlink_to(path)
    with pytest.raises(TransientError, match="cannot be read"):
        FloorsFile(tmp_path).read()
    with pytest.raises(TransientError, match="cannot be read"):
        FloorsFile(tmp_path).write(OLD)
    spoiled[1].rmdir() if damage == "a folder" else spoiled[1].unlink()
    spoiled[1].write_bytes(kept)
    assert FloorsFile(tmp_path).read() == NEW


@given(st.text(min_size=1), st.integers(1, 5))
def test_any_key_id_can_be_named(keyid: str, threshold: int) -> None:
    floors = raise_repository(Floors(), RepositoryVersions(1, 9, 9, 9, name_keys("timestamp", threshold, [keyid])))
    with pytest.raises(BadBundle):
        raise_repository(floors, RepositoryVersions(2, 1, 9, 9, name_keys("timestamp", 1, [keyid, "other"])))
    assert len(floors.online_keys.split()) == 1


KEYS = st.sets(st.sampled_from("abcd"), min_size=1)
SEEN = st.builds(
    lambda root, timestamp, snapshot, targets, t_keys, s_keys, threshold: RepositoryVersions(
        root, timestamp, snapshot, targets,
        f"{name_keys('snapshot', min(threshold, len(s_keys)), s_keys)} "
        f"{name_keys('timestamp', min(threshold, len(t_keys)), t_keys)}",
    ),
    *[st.integers(1, 3)] * 4, KEYS, KEYS, st.integers(1, 3),
)  # fmt: skip


@given(st.lists(SEEN, max_size=8))
def test_no_version_falls_while_enough_of_the_keys_that_signed_it_are_left(seen: list[RepositoryVersions]) -> None:
    def keys(role: str, said: str) -> set[str]:
        return {word for word in said.split() if word.startswith(role)}

    floors = Floors()
    for each in seen:
        try:
            raised = raise_repository(floors, each)
        except BadBundle:
            continue
        assert raised.root >= floors.root
        for role, guarded in (("timestamp", ("timestamp",)), ("snapshot", ())):
            old = {word.rpartition("/")[2] for word in keys(role, floors.online_keys)}
            new = {word.rpartition("/")[2] for word in keys(role, each.online_keys)}
            threshold = int(next(iter(keys(role, each.online_keys))).split("/")[1])
            if len(old & new) >= threshold:
                for name in guarded:
                    assert getattr(raised, name) >= getattr(floors, name)
        floors = raised


def test_a_root_seen_alone_raises_only_the_root() -> None:
    floors = Floors(root=2, timestamp=7, online_keys="k")
    assert raise_root(floors, 1) == floors
    assert raise_root(floors, 3) == Floors(root=3, timestamp=7, online_keys="k")


def test_floors_from_before_roles_were_named_still_hold() -> None:
    floors = Floors(root=1, timestamp=7, snapshot=7, targets=3, online_keys="k1 k2")
    keys = f"{name_keys('snapshot', 1, ['k1'])} {name_keys('timestamp', 1, ['k2'])}"
    with pytest.raises(BadBundle, match="timestamp version 6 after 7"):
        raise_repository(floors, RepositoryVersions(1, 6, 7, 3, keys))
    assert raise_repository(floors, RepositoryVersions(1, 7, 7, 3, keys)).online_keys == keys
