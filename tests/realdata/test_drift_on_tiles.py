"""Real exposure steps on magnetic tiles: found by a station that watches, and by one check of two folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cloud.__main__ import main
from contract.errors import NotFound
from scripts.benches.own_judge import watch_streams
from scripts.benches.run_lengths import StreamEffort, changing_streams
from scripts.benches.tiles import Condition, TilePool, load_pool, split_tiles, tile_images

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return tile_images()
    except NotFound as error:
        pytest.skip(error.one_line())


@pytest.fixture(scope="module")
def pool(folder: Path) -> TilePool:
    return load_pool(folder)


@pytest.mark.long
@pytest.mark.parametrize(
    ("then", "usually", "at_last"),
    [(Condition.EXPOSURE_4, 4, 24), (Condition.EXPOSURE_6, 2, 2), (Condition.BLUR, 2, 2)],
)
def test_a_station_that_learnt_other_tiles_finds_the_step_and_nothing_before_it(pool, then, usually, at_last) -> None:
    # Hourly windows of 20 tiles: 24 to learn from, 30 to 60 quiet ones of tiles never seen before, then the step.
    streams = changing_streams(pool, StreamEffort(streams=8, before=30, after=24), then)
    early, delays = 0, []
    for stream, alarms in zip(streams, watch_streams(streams), strict=True):
        early += any(at < stream.change for at in alarms)
        delays += [at - stream.change + 1 for at in alarms[:1] if at >= stream.change]
    assert early <= 1 and len(delays) == 8 - early
    assert sorted(delays)[len(delays) // 2] <= usually and max(delays) <= at_last


def _copy(files: list[Path], to: Path) -> Path:
    to.mkdir()
    for file in files:
        shutil.copy(file, to / f"{file.parent.name}-{file.name}")
    return to


def test_a_check_of_two_folders_tells_exposures_apart_and_other_tiles_of_one_exposure_not(
    pool, tmp_path, capsys
) -> None:
    split = split_tiles(pool.tiles, 1)
    reference = _copy([pool.tiles[index].files[3] for index in split.reference], tmp_path / "reference")
    others = _copy([pool.tiles[index].files[3] for index in split.calibration], tmp_path / "others")
    brighter = _copy([pool.tiles[index].files[4] for index in split.test[:50]], tmp_path / "brighter")
    assert main(["drift", "check", str(reference), str(others), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["drifted"]
    assert main(["drift", "check", str(reference), str(brighter), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["current_images"] == 50 and found["sentence"].startswith("light: ")
