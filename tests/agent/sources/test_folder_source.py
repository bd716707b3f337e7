"""The folder source: recorded sets, and folders that a camera's software writes into."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.sources.folder import FolderSource
from contract.errors import BadImage, CameraFault, InvalidConfig


def png(level: int) -> bytes:
    body = io.BytesIO()
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(body, "PNG")
    return body.getvalue()


def fill(folder: Path, *names: str) -> None:
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(level))


def open_folder(folder: Path, clock: Any, **options: Any) -> FolderSource:
    return FolderSource(folder, clock, **{"loop": False, "watch": False, "fps": None, "seed": None, **options})


def read_all(source: FolderSource) -> list[str]:
    parts = []
    while not source.exhausted():
        frame = source.read()
        if frame is not None:
            parts.append(frame.part)
    return parts


def wait_for_part(source: FolderSource, reads: int = 10) -> str | None:
    for _ in range(reads):
        frame = source.read()
        if frame is not None:
            return frame.part
    return None


def test_files_are_read_once_in_order_of_their_paths(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "b.png", "a/2.png", "a/1.png", "c.PNG")
    source = open_folder(tmp_path, clock)
    assert read_all(source) == ["a/1.png", "a/2.png", "b.png", "c.PNG"]
    assert source.read() is None
    assert source.simulated is False


def test_a_frame_carries_its_pixels_and_the_time_it_was_complete(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "a.png", "b.png")
    source = open_folder(tmp_path, clock, fps=4)
    source.read()
    frame = source.read()
    assert frame is not None
    assert (frame.pixels == 1).all() and frame.pixels.shape == (8, 8)
    assert frame.captured_monotonic == pytest.approx(100.25)
    assert frame.captured_at == pytest.approx(clock.now())


def test_other_files_hidden_files_and_temporary_names_are_left_alone(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "a.png", ".b.png", "~c.png", "d.tmp.png", "e.png.part", ".hidden/f.png", "notes.txt", "g.PART.jpg")
    assert read_all(open_folder(tmp_path, clock)) == ["a.png"]


def test_laps_repeat_and_see_what_changed(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "a.png", "b.png")
    source = open_folder(tmp_path, clock, loop=True)
    first = [wait_for_part(source) for _ in range(2)]
    (tmp_path / "a.png").unlink()
    fill(tmp_path, "c.png")
    assert first == ["a.png", "b.png"]
    assert [wait_for_part(source) for _ in range(4)] == ["b.png", "c.png"] * 2
    assert not source.exhausted()


def test_a_seed_shuffles_each_lap_anew_and_the_same_way_again(tmp_path: Path, clock: Any) -> None:
    names = [f"{index:02}.png" for index in range(20)]
    fill(tmp_path, *names)

    def laps(seed: int) -> list[list[str | None]]:
        source = open_folder(tmp_path, clock, loop=True, seed=seed)
        return [[wait_for_part(source) for _ in names] for _ in range(2)]

    one, two = laps(3)
    assert sorted(map(str, one)) == sorted(map(str, two)) == names
    assert one != two != names
    assert laps(3) == [one, two]
    assert laps(4) != [one, two]


def test_a_bad_file_is_reported_and_the_next_one_follows(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "a.png", "c.png")
    (tmp_path / "b.png").write_bytes(b"")
    source = open_folder(tmp_path, clock)
    assert wait_for_part(source) == "a.png"
    with pytest.raises(BadImage, match=r"b\.png"):
        source.read()
    assert wait_for_part(source) == "c.png"
    assert source.exhausted()


def test_missing_empty_and_contradictory_folders_are_refused_with_a_hint(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "full/a.png")
    (tmp_path / "empty").mkdir()
    for folder, options in (
        (tmp_path / "missing", {}),
        (tmp_path / "missing", {"watch": True}),
        (tmp_path / "full" / "a.png", {}),
        (tmp_path / "empty", {}),
        (tmp_path / "full", {"loop": True, "watch": True}),
        (tmp_path / "full", {"fps": 0.0}),
        (tmp_path / "full", {"seed": -1}),
    ):
        with pytest.raises(InvalidConfig) as caught:
            open_folder(folder, clock, **options)
        assert caught.value.hint


def test_a_folder_that_went_away_is_a_camera_fault_and_may_come_back(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "on/a.png")
    source = open_folder(tmp_path / "on", clock, loop=True)
    assert wait_for_part(source) == "a.png"
    (tmp_path / "on").rename(tmp_path / "off")
    with pytest.raises(CameraFault, match="went away"):
        source.read()
    assert clock.slept  # no busy loop of faults
    (tmp_path / "off").rename(tmp_path / "on")
    assert wait_for_part(source) == "a.png"


def test_watching_takes_files_renamed_into_place_once_each(tmp_path: Path, clock: Any) -> None:
    source = open_folder(tmp_path, clock, watch=True)
    assert wait_for_part(source, 3) is None
    (tmp_path / "a.png.tmp").write_bytes(png(1))
    assert wait_for_part(source, 3) is None
    (tmp_path / "a.png.tmp").rename(tmp_path / "a.png")
    assert wait_for_part(source) == "a.png"
    assert wait_for_part(source, 3) is None
    assert not source.exhausted()


def test_watching_waits_until_a_file_stops_growing(tmp_path: Path, clock: Any) -> None:
    source = open_folder(tmp_path, clock, watch=True)
    body, path = png(7), tmp_path / "slow.png"
    written = 0

    def write_a_little() -> None:
        nonlocal written
        if written < len(body):
            written += 2
            path.write_bytes(body[:written])

    clock.on_sleep = write_a_little
    assert wait_for_part(source, 100) == "slow.png"  # half a file would have been a BadImage
    assert written >= len(body)


def test_watching_gives_the_oldest_first(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "a.png", "b.png")
    os.utime(tmp_path / "a.png", (2000, 2000))
    os.utime(tmp_path / "b.png", (1000, 1000))
    source = open_folder(tmp_path, clock, watch=True)
    assert [wait_for_part(source), wait_for_part(source)] == ["b.png", "a.png"]


def test_watching_sees_a_file_replaced_under_its_old_name(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, "latest.png")
    source = open_folder(tmp_path, clock, watch=True)
    assert wait_for_part(source) == "latest.png"
    (tmp_path / "latest.tmp").write_bytes(png(9))
    (tmp_path / "latest.tmp").replace(tmp_path / "latest.png")
    assert wait_for_part(source) == "latest.png"


def test_watching_gives_up_on_a_file_that_stays_empty(tmp_path: Path, clock: Any) -> None:
    (tmp_path / "a.png").touch()
    source = open_folder(tmp_path, clock, watch=True)
    with pytest.raises(BadImage, match="empty"):
        wait_for_part(source, 50)
    assert clock.monotonic() >= 105


@pytest.mark.parametrize("options", ({"watch": True}, {"loop": True, "fps": 0.2}, {"watch": True, "fps": 0.2}))
def test_no_read_waits_longer_than_about_a_second(tmp_path: Path, clock: Any, options: dict[str, Any]) -> None:
    fill(tmp_path, "a.png")
    source = open_folder(tmp_path, clock, **options)
    for _ in range(30):
        before = clock.monotonic()
        source.read()
        assert clock.monotonic() - before <= 1.1


def test_watching_is_paced_too(tmp_path: Path, clock: Any) -> None:
    fill(tmp_path, *(f"{index}.png" for index in range(5)))
    source = open_folder(tmp_path, clock, watch=True, fps=2)
    times = []
    while len(times) < 5:
        frame = source.read()
        if frame is not None:
            times.append(frame.captured_monotonic)
    # The first comes as soon as it has settled; from then on the rate holds.
    assert np.diff(times[1:]) == pytest.approx([0.5] * 3, abs=0.11)
