"""The harness of `bench drift`: what a detector must get, whatever it is, and that the windows it gets are fair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contract.errors import NotFound
from contract.sketches.frame_stats import FrameStats, frame_stats
from scripts.benches import drift
from scripts.benches.budget import TARGETS
from scripts.benches.drift_peers import peer_contenders
from scripts.benches.drift_tables import SIZES
from scripts.benches.own_judge import OwnJudge
from scripts.benches.run_lengths import (
    ENROL_WINDOWS,
    Stream,
    StreamEffort,
    changing_streams,
    measure_delay,
    measure_run_length,
    quiet_streams,
)
from scripts.benches.share_interval import clopper_pearson, clustered_share, run_length
from scripts.benches.tile_upsets import blur, dust, dust_transmission, gain
from scripts.benches.tiles import (
    DRIFTS,
    Condition,
    TilePool,
    draw,
    find_tiles,
    load_pool,
    split_tiles,
    tile_images,
)
from scripts.benches.window_power import Contender, Effort, calibrate, measure_power

EFFORT = Effort(splits=40, calibration=6, test=2)
STREAMS = StreamEffort(streams=4, quiet=30, before=10, after=20)


def write_tiles(folder: Path, tiles: int) -> None:
    """Write grey textured tiles of two classes, brighter at each exposure, numbered as the real ones are."""
    rng = np.random.default_rng(3)
    for tile in range(tiles):
        texture = rng.normal(80.0 + rng.normal(0.0, 4.0), 20.0, (48, 40))
        for exposure in range(1, 7):
            shot = np.clip(texture * (0.7 + 0.15 * exposure) + rng.normal(0, 1, texture.shape), 0, 255)
            of_kind = folder / ("Free" if tile % 3 else "Crack")
            of_kind.mkdir(exist_ok=True)
            name = f"exp{exposure}_num_{1000 * tile + 20 * exposure}.jpg"
            Image.fromarray(shot.astype(np.uint8)).save(of_kind / name, quality=95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "magnetic-tile"
    made.mkdir()
    write_tiles(made, 60)
    return made


@pytest.fixture(scope="module")
def pool(folder: Path) -> TilePool:
    return load_pool(folder)


class Blind:
    """Scores everything alike."""

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Learn nothing."""

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return the same for all."""
        return 7.0


class Brightness:
    """Scores by mean grey."""

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Keep the reference's mean."""
        self._mean = float(np.mean([frame.values[0] for frame in reference]))

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return how far the mean is from the reference's."""
        return abs(float(np.mean([frame.values[0] for frame in window])) - self._mean)


def test_a_blind_detector_finds_one_percent_of_everything(pool: TilePool) -> None:
    found = measure_power(pool, Contender("blind", lambda _: Blind()), 20, EFFORT)
    assert found.false_positives.value == pytest.approx(0.01)
    assert all(share.value == pytest.approx(0.01) for share in found.power.values())
    assert found.conventional is None


def test_a_detector_that_sees_light_finds_every_exposure_and_not_the_blur(pool: TilePool) -> None:
    found = measure_power(pool, Contender("light", lambda _: Brightness()), 20, EFFORT)
    assert found.power[Condition.EXPOSURE_6].value == 1.0
    assert found.power[Condition.GAIN_10].value == 1.0
    assert found.power[Condition.BLUR].value < 0.2
    assert found.false_positives.value < 0.1


def test_the_conventional_rate_counts_quiet_windows_only(pool: TilePool) -> None:
    found = measure_power(pool, Contender("light", lambda _: Brightness(), lambda *_: 0.0), 20, EFFORT)
    assert found.conventional is not None and found.conventional.value == 1.0
    found = measure_power(pool, Contender("light", lambda _: Brightness(), lambda *_: 1.0), 20, EFFORT)
    assert found.conventional is not None and found.conventional.value == 0.0


def test_every_real_contender_finds_the_brightest_exposure(pool: TilePool) -> None:
    for contender in (*peer_contenders(pool), Contender("", OwnJudge)):
        found = measure_power(pool, contender, 20, Effort(splits=20, calibration=6, test=1))
        assert found.power[Condition.EXPOSURE_6].value == 1.0, contender.key
        assert found.false_positives.value < 0.3, contender.key


def test_the_same_seeds_give_the_same_figures(pool: TilePool) -> None:
    contender = Contender("light", lambda _: Brightness())
    assert measure_power(pool, contender, 20, EFFORT) == measure_power(pool, contender, 20, EFFORT)


@given(st.integers(0, 2**31))
@settings(max_examples=50)
def test_no_session_is_in_two_parts_of_a_split(pool: TilePool, seed: int) -> None:
    split = split_tiles(pool.tiles, seed)
    parts = [{pool.tiles[index].session for index in part} for part in (split.reference, split.calibration, split.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    together = np.sort(np.concatenate((split.reference, split.calibration, split.test)))
    assert together.tolist() == list(range(len(pool.tiles)))
    assert min(split.reference.size, split.calibration.size, split.test.size) >= 0.2 * len(pool.tiles)


@given(st.integers(1, 50), st.integers(1, 200), st.integers(0, 2**31))
def test_no_tile_is_drawn_again_before_all_were(tiles: int, frames: int, seed: int) -> None:
    drawn = draw(np.arange(tiles), frames, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=tiles)
    assert drawn.size == frames and counts.max() - counts.min() <= 1


def test_a_new_tile_begins_where_the_exposure_no_longer_grows(tmp_path: Path) -> None:
    (tmp_path / "Free").mkdir()
    for exposure, number in ((1, 1000), (3, 1020), (2, 3000), (6, 3050), (6, 9000)):
        (tmp_path / "Free" / f"exp{exposure}_num_{number}.jpg").touch()
    (tmp_path / "Free" / "exp0_num_1.jpg").touch()
    (tmp_path / "Free" / "exp1_num_1000.png").touch()
    assert [sorted(tile.files) for tile in find_tiles(tmp_path)] == [[1, 3], [2, 6], [6]]


def test_tiles_that_were_before_the_camera_together_are_one_session(tmp_path: Path) -> None:
    for kind, numbers in (("Crack", (1010, 1050)), ("Free", (1000, 1020, 1085, 2000))):
        (tmp_path / kind).mkdir()
        for number in numbers:
            (tmp_path / kind / f"exp3_num_{number}.jpg").touch()
    sessions = {next(iter(tile.files.values())).name: tile.session for tile in find_tiles(tmp_path)}
    assert len(set(sessions.values())) == 2
    assert sessions["exp3_num_1085.jpg"] == sessions["exp3_num_1010.jpg"] != sessions["exp3_num_2000.jpg"]


def test_a_folder_without_tiles_is_refused_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        find_tiles(tmp_path)
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path))
    with pytest.raises(NotFound) as refused:
        tile_images()
    assert "PLUMBLINE_DATA" in refused.value.one_line()


def test_dust_is_the_same_on_every_frame_and_only_darkens() -> None:
    bright, dim = np.full((300, 260), 200, np.uint8), np.full((300, 260), 100, np.uint8)
    assert np.array_equal(dust(bright), dust(bright))
    assert (dust(bright) <= bright).all()
    # The same share of the light, to the rounding of each.
    assert np.abs(dust(bright) / 200.0 - dust(dim) / 100.0).max() <= 0.5 / 100.0 + 0.5 / 200.0
    covered = 1.0 - dust_transmission(300, 260)
    assert 0.001 < covered.mean() < 0.02 and 0.3 < covered.max() < 0.9


def test_dust_keeps_its_relative_places_at_another_size() -> None:
    small, large = dust_transmission(300, 300), dust_transmission(600, 600)
    halved = large.reshape(300, 2, 300, 2).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.9


def test_gain_rounds_and_clips_and_blur_keeps_the_mean_but_not_the_sharpness() -> None:
    assert gain(np.array([[0, 101, 250]], np.uint8), 1.05).tolist() == [[0, 106, 255]]
    noise = np.random.default_rng(0).integers(0, 256, (100, 80), np.uint8)
    soft = blur(noise, 0.6)
    assert abs(float(soft.mean()) - float(noise.mean())) < 1.0
    assert frame_stats(soft).values[8] < frame_stats(noise).values[8]
    assert np.array_equal(blur(np.full((9, 9), 77, np.uint8), 0.6), np.full((9, 9), 77, np.uint8))


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), min_size=1, max_size=300), st.floats(0.001, 0.5))
def test_a_calibrated_limit_alarms_at_exactly_its_rate_on_what_it_was_calibrated_on(
    quiet: list[float], rate: float
) -> None:
    scores = np.array(quiet)
    assert float(calibrate(scores, rate).alarms(scores).mean()) == pytest.approx(rate, abs=1e-9)


def test_windows_that_agree_within_their_splits_are_worth_less() -> None:
    alike = np.repeat([[1.0], [0.0], [1.0], [1.0], [0.0], [1.0], [1.0], [0.0]], 50, axis=1)
    mixed = np.random.default_rng(0).permutation(alike.ravel()).reshape(alike.shape)
    clustered, spread = clustered_share(alike), clustered_share(mixed)
    assert clustered.value == spread.value
    assert clustered.high - clustered.low > 3 * (spread.high - spread.low)


def test_intervals_are_the_published_ones() -> None:
    # Clopper and Pearson 1934: 0 of 10 gives 0..0.3085; Poisson, 1 event: 0.0253..5.572.
    assert clopper_pearson(0.0, 10).high == pytest.approx(0.3085, abs=1e-4)
    once = run_length(1, 1000)
    assert (1000 / once.high, 1000 / once.low) == (pytest.approx(0.02532, abs=1e-4), pytest.approx(5.5716, abs=1e-3))
    assert "x_high" not in run_length(0, 1000).figures("x")


def test_a_stream_enrols_some_tiles_and_watches_others(pool: TilePool) -> None:
    for stream in quiet_streams(pool, STREAMS):
        assert not set(stream.enrolled.ravel().tolist()) & set(stream.watched.ravel().tolist())
        assert len(stream.enrolment()) == ENROL_WINDOWS and len(list(stream.windows())) == 30


def test_a_changing_stream_shows_its_drift_from_the_change_on(pool: TilePool) -> None:
    for stream in changing_streams(pool, STREAMS, Condition.EXPOSURE_6):
        levels = np.array([np.mean([frame.values[0] for frame in window]) for window in stream.windows()])
        assert levels[stream.change :].min() > levels[: stream.change].max()
        standard = stream.standardised()
        assert np.abs(standard[:ENROL_WINDOWS].mean(axis=0)).max() < 1e-6
        assert np.array_equal(np.argsort(levels), np.argsort(standard[ENROL_WINDOWS:, 0]))


def test_run_lengths_count_quiet_runs_for_what_they_lasted(pool: TilePool) -> None:
    streams = quiet_streams(pool, STREAMS)
    found = measure_run_length(streams, [[], [9, 12], [], []])
    assert found.value == 3 * 30 + 10
    assert measure_run_length(streams, [[], [], [], []]).low == pytest.approx(120 / 3.6889, rel=1e-3)


def test_a_delay_counts_from_the_change_and_early_alarms_are_false_starts(pool: TilePool) -> None:
    streams: list[Stream] = changing_streams(pool, STREAMS, Condition.EXPOSURE_4)
    first, second, third, fourth = (stream.change for stream in streams)
    assert len({first, second, third, fourth}) > 1
    found = measure_delay(streams, [[first], [second + 2], [3, third + 1], [fourth + 1]])
    assert (found.median.value, found.found.value, found.false_starts.value) == (2.0, 1.0, 0.25)
    never = measure_delay(streams, [[], [], [], [fourth]])
    assert never.median.value == np.inf and never.found.value == 0.25


@pytest.mark.long
def test_the_bench_prints_every_table_and_the_keys_of_its_budgets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_DATA", str(folder.parent))
    monkeypatch.setattr(drift, "peers_installed", lambda: False)
    figures = drift.measure(quick=True)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert {key for key in TARGETS if key.startswith("drift.")} <= set(figures)
    for size in SIZES:
        assert {f"drift.mmd_power_{condition.value}_n{size}" for condition in DRIFTS} <= set(figures)
        assert f"drift.ks_fpr_n{size}" in figures and f"drift.psi_fpr_n{size}" in figures
    text = drift.table(figures)
    assert text.count("not installed (--peers installs)") == 7
    assert all(f"\n{number} " in text for number in (1, 2, 3, 4))
