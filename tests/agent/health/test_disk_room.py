from __future__ import annotations

from pathlib import Path

from agent.health.disk import DiskRoom, disk_room, disk_trouble


def test_room_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    room = disk_room(tmp_path / "not/yet")
    assert room is not None and 0 < room.free_bytes <= room.total_bytes and not room.read_only


def test_trouble_says_what_to_do() -> None:
    assert disk_trouble(DiskRoom(1 << 30, 1 << 29, False), 1 << 20) == ""
    assert "remount" in disk_trouble(DiskRoom(1 << 30, 1 << 29, True), 1 << 20)
    assert "1 MiB are free" in disk_trouble(DiskRoom(1 << 30, 1 << 20, False), 1 << 29)
    assert "mounted" in disk_trouble(None, 1)
